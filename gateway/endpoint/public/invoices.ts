// GET /v1/invoices and /v1/invoices/{id}, and the same of any account for the operator: as JSON, as CSV, or as a page that prints.

import { accepts } from 'hono/accepts'
import { z } from 'zod'
import type { Invoice } from '../../../contract/public/invoice.ts'
import { authenticateAdmin, type Caller, identify } from '../../auth/authenticate.ts'
import { invoiceCsv, invoiceHtml } from '../../billing/invoice.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { rowId } from '../../field/row-id.ts'

type Asker = Caller | { operator: true }

/** inv_12_3: the third of account 12. */
const invoiceId = z.string().regex(/^inv_[1-9]\d{0,17}_[1-9]\d{0,8}$/, 'expected the id of an invoice')

export const ownInvoices = endpointsFor(identify, { after: invoiceId.optional() })
export const operatorsInvoices = endpointsFor(operator, { after: invoiceId.optional(), account_id: rowId })

function endpointsFor(whoAsks: (c: Call) => Promise<Asker>, query: z.ZodRawShape) {
  return {
    list: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const { limit, after, ...more } = pageQuery(c.req.query(), query)
      const item = { ...more, limit, after: after ? rowOf(after).number : null, ...asker }
      const { invoices } = await ask<{ invoices: Invoice[] }>(c.env, 'list_invoices', item)
      return c.json(pageOf(invoices.map(withObject), limit))
    },

    retrieve: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const id = invoiceId.safeParse(c.req.param('id'))
      if (!id.success) throw new ApiError('not_found')
      const form = formOf(c)
      const { invoice } = await ask<{ invoice: Invoice }>(c.env, 'read_invoice', { ...rowOf(id.data), ...asker })
      return forms[form](invoice)
    },
  }
}

async function operator(c: Call): Promise<{ operator: true }> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return { operator: true }
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
const query = z.strictObject({ format: z.enum(['json', 'csv', 'html']).optional() })

/** As `format` says, or else as the Accept header does. */
function formOf(c: Call): keyof typeof forms {
  const parsed = query.safeParse(c.req.query())
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    const unknown = issue.code === 'unrecognized_keys'
    const param = unknown ? issue.keys[0]!.slice(0, 100) : 'format'
    throw new ApiError(unknown ? 'unknown_parameter' : 'invalid_value', { param })
  }
  const supports = Object.keys(types)
  const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' }) as keyof typeof types
  return parsed.data.format ?? types[wanted]
}
