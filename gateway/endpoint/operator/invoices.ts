// GET /admin/invoices and /admin/invoices/{id}: those of any account.

import type { Operator } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { invoiceId, rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { invoiceEndpoint, listedInvoices, listing } from '../invoices.ts'

const query = pageQuery({ after: invoiceId.optional(), account_id: rowId })

export const operatorsInvoices = {
  list: endpoint({ ...listing, query }, async (c, operator: Operator) =>
    listedInvoices(c, { ...readQuery(c, query), ...operator }),
  ),
  retrieve: invoiceEndpoint<Operator>(),
}
