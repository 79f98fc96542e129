// GET /admin/invoices and /admin/invoices/{id}: those of any account.

import type { Operator } from '../../auth/authenticate.ts'
import { accountOf } from '../../db/query.ts'
import { invoiceId, rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { invoiceEndpoints } from '../invoices.ts'

const page = pageQuery({ after: invoiceId.optional(), account_id: rowId })

export const operatorsInvoices = invoiceEndpoints<Operator>(async (c, operator) => {
  const { account_id, ...wanted } = readQuery(c, page)
  return { ...wanted, account_id: await accountOf(c.env, { ...operator, scope: 'usage', account_id }) }
})
