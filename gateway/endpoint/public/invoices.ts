// GET /v1/invoices and /v1/invoices/{id}: an account's own.

import type { Caller } from '../../auth/authenticate.ts'
import { invoiceId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { invoiceEndpoints } from '../invoices.ts'

export const ownInvoices = invoiceEndpoints<Caller>(pageQuery({ after: invoiceId.optional() }))
