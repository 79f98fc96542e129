// GET /v1/invoices and /v1/invoices/{id}: an account's own.

import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { invoiceId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { invoiceEndpoint, listedInvoices, listing } from '../invoices.ts'

const query = pageQuery({ after: invoiceId.optional() })

export const ownInvoices = {
  list: endpoint({ ...listing, query }, async (c, caller: Caller) =>
    listedInvoices(c, { ...readQuery(c, query), ...caller }),
  ),
  retrieve: invoiceEndpoint<Caller>(),
}
