// GET /admin/invoices and /admin/invoices/{id}: those of any account.

import type { Operator } from '../../auth/authenticate.ts'
import { invoiceId, rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { invoiceEndpoints } from '../invoices.ts'

export const operatorsInvoices = invoiceEndpoints<Operator>(
  pageQuery({ after: invoiceId.optional(), account_id: rowId }),
)
