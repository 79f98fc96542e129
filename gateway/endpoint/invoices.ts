// What can be asked about invoices, by an account of its own or by the operator of any: a list, and one as JSON, as CSV, or as a page
// that prints.

import { accepts } from 'hono/accepts'
import * as z from 'zod'
import type { Invoice } from '../../contract/public/invoice.ts'
import type { Asker } from '../auth/authenticate.ts'
import { invoiceCsv, invoiceHtml } from '../billing/invoice.ts'
import { ask } from '../billing/ledger.ts'
import type { Call } from '../env.ts'
import { invoiceId, pathId } from '../field/id.ts'
import { pageOf } from '../field/page.ts'
import { readQuery } from '../field/query.ts'

const formQuery = z.strictObject({ format: z.enum(['json', 'csv', 'html']).optional() })

/** The endpoints for the invoices that an asker may see. */
export function invoiceEndpoints<A extends Asker>(query: z.ZodType<{ limit: number; after?: string | undefined }>) {
  return {
    list: async (c: Call, asker: A): Promise<Response> => {
      const { limit, after, ...own } = readQuery(c, query)
      const item = { ...own, limit, after: after ? rowOf(after).number : null, ...asker }
      const { invoices } = await ask<{ invoices: Invoice[] }>(c.env, 'list_invoices', item)
      return c.json(pageOf(invoices.map(withObject), limit, ({ id }) => id))
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

function withObject<I extends { id: string }>(invoice: I) {
  return { object: 'invoice', ...invoice }
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
