// What can be asked about invoices, by an account of its own or by the operator of any: a list, and one as JSON, as CSV, or as a page
// that prints.

import { accepts } from 'hono/accepts'
import * as z from 'zod'
import type { Invoice, InvoiceSummary } from '../../contract/public/invoice.ts'
import type { Asker } from '../auth/authenticate.ts'
import { invoiceCsv, invoiceHtml } from '../billing/invoice.ts'
import { ask } from '../billing/ledger.ts'
import type { Page } from '../db/queries/read-db.ts'
import type { QueryRow } from '../db/queries.ts'
import { query } from '../db/query.ts'
import type { Call } from '../env.ts'
import { invoiceId, pathId } from '../field/id.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'
import { readQuery } from '../field/query.ts'

const formQuery = z.strictObject({ format: z.enum(['json', 'csv', 'html']).optional() })

/** The endpoints for the invoices that an asker may see. */
export function invoiceEndpoints<A extends Asker>(page: (c: Call, asker: A) => Promise<Page & { account_id: string }>) {
  return {
    list: async (c: Call, asker: A): Promise<Response> => {
      const { account_id, limit, after } = await page(c, asker)
      const after_number = after === undefined ? undefined : rowOf(after).number
      const invoices = await query(c.env, 'list_invoices', { account_id, limit, after_number })
      return c.json(pageOf(invoices.map(summary), limit, ({ id }) => id))
    },

    retrieve: async (c: Call, asker: A): Promise<Response> => {
      const id = pathId(c, 'id', invoiceId)
      const form = formOf(c)
      const { invoice } = await ask<{ invoice: Invoice }>(c.env, 'read_invoice', { ...rowOf(id), ...asker })
      return forms[form](invoice)
    },
  }
}

function rowOf(id: string): { account_id: string; number: number } {
  const [, account_id, number] = id.split('_')
  return { account_id: account_id!, number: Number(number) }
}

function summary(row: QueryRow<'list_invoices'>): InvoiceSummary {
  return withObject({ id: `inv_${row.account_id}_${row.number}`, ...publicRow(row) })
}

function withObject<I extends { id: string }>(invoice: I) {
  return { object: 'invoice' as const, ...invoice }
}

const forms = {
  json: (invoice: Invoice) => Response.json(withObject(invoice)),
  csv: (invoice: Invoice) =>
    new Response(invoiceCsv(invoice), {
      headers: {
        'content-type': 'text/csv; charset=utf-8',
        'content-disposition': `attachment; filename="${invoice.id}.csv"`,
      },
    }),
  html: (invoice: Invoice) =>
    new Response(invoiceHtml(invoice), {
      headers: {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
        'x-content-type-options': 'nosniff',
      },
    }),
}

const types = { 'application/json': 'json', 'text/csv': 'csv', 'text/html': 'html' } as const

/** As `format` says, or else as the Accept header does. */
function formOf(c: Call): keyof typeof forms {
  const { format } = readQuery(c, formQuery)
  const supports = Object.keys(types)
  const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' }) as keyof typeof types
  return format ?? types[wanted]
}
