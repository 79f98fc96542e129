// What can be asked about invoices, by an account of its own or by the operator of any: a list, and one as JSON, as CSV, or as a page
// that prints.

import { accepts } from 'hono/accepts'
import * as z from 'zod'
import * as shown from '../../contract/public/invoice.ts'
import * as pages from '../../contract/public/page.ts'
import type { Asker, Caller, Operator } from '../auth/authenticate.ts'
import { invoiceCsv, invoiceHtml } from '../billing/invoice.ts'
import { obtain } from '../db/ask.ts'
import type { QueryRow } from '../db/queries.ts'
import { accountOf, rowsOf } from '../db/query.ts'
import { endpoint } from '../endpoint.ts'
import type { Call } from '../env.ts'
import { invoiceId, pathId } from '../field/id.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'
import { readQuery } from '../field/query.ts'
import { page } from './html-page.ts'

const formQuery = z.strictObject({ format: z.enum(['json', 'csv', 'html']).optional() })

export const listing = { says: 'Lists the invoices, the newest first.', answer: pages.pageOf(shown.invoiceSummary) }

/** A page goes on before the number that the id in `after` has. */
export async function listedInvoices(c: Call, { limit, after, ...asker }: Wanted): Promise<Response> {
  const account_id = await accountOf(c.env, { ...asker, scope: 'usage' })
  const after_number = after === undefined ? undefined : rowOf(after).number
  const invoices = await rowsOf(c.env, 'list_invoices', { account_id, limit, after_number })
  return c.json(pageOf(invoices.map(summary), limit, ({ id }) => id))
}

function summary(row: QueryRow<'list_invoices'>): shown.InvoiceSummary {
  return { object: 'invoice', id: `inv_${row.account_id}_${row.number}`, ...publicRow(row) }
}

type Wanted = { limit: number; after?: string | undefined } & (Caller | (Operator & { account_id: string }))

/** Makes the endpoint for one invoice that the asker may see. */
export function invoiceEndpoint<A extends Asker>() {
  return endpoint(
    {
      says: 'Shows an invoice: as JSON, as CSV, or as a page that prints.',
      query: formQuery,
      answer: shown.invoice,
      also: { 'text/csv': null, 'text/html': null },
    },
    async (c, asker: A) => {
      const id = pathId(c, 'id', invoiceId)
      const form = formOf(c)
      const { invoice } = await obtain(c.env, 'read_invoice', { ...rowOf(id), ...asker }, 'allowed')
      return forms[form]({ object: 'invoice', ...invoice })
    },
  )
}

function rowOf(id: string): { account_id: string; number: number } {
  const [, account_id, number] = id.split('_')
  return { account_id: account_id!, number: Number(number) }
}

const forms = {
  json: (invoice: shown.Invoice) => Response.json(invoice),
  csv: (invoice: shown.Invoice) =>
    new Response(invoiceCsv(invoice), {
      headers: {
        'content-type': 'text/csv; charset=utf-8',
        'content-disposition': `attachment; filename="${invoice.id}.csv"`,
      },
    }),
  html: (invoice: shown.Invoice) => page(invoiceHtml(invoice)),
}

const types = { 'application/json': 'json', 'text/csv': 'csv', 'text/html': 'html' } as const

/** The form that `format` names, or else the Accept header. */
function formOf(c: Call): keyof typeof forms {
  const { format } = readQuery(c, formQuery)
  const supports = Object.keys(types)
  const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' }) as keyof typeof types
  return format ?? types[wanted]
}
