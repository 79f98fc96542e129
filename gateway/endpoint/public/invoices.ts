// GET /v1/invoices and /v1/invoices/{id}: an account's own.

import type { Caller } from '../../auth/authenticate.ts'
import { accountOf } from '../../db/query.ts'
import { invoiceId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { invoiceEndpoints } from '../invoices.ts'

const page = pageQuery({ after: invoiceId.optional() })

export const ownInvoices = invoiceEndpoints<Caller>(async (c, caller) => ({
  ...readQuery(c, page),
  account_id: await accountOf(c.env, { ...caller, scope: 'usage' }),
}))
