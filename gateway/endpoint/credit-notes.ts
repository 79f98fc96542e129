// What can be asked about credit notes, by an account of its own or by the operator of any: a list, and one as JSON or as a page that
// prints.

import * as z from 'zod'
import * as shown from '../../contract/public/credit-note.ts'
import * as pages from '../../contract/public/page.ts'
import type { Asker, Caller, Operator } from '../auth/authenticate.ts'
import { creditNoteHtml } from '../billing/invoice.ts'
import { obtain } from '../db/ask.ts'
import type { QueryRow } from '../db/queries.ts'
import { accountOf, rowsOf } from '../db/query.ts'
import { endpoint } from '../endpoint.ts'
import type { Call } from '../env.ts'
import { creditNoteId, pathId } from '../field/id.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'
import { readQuery } from '../field/query.ts'
import { page } from './html-page.ts'

const formQuery = z.strictObject({ format: z.enum(['json', 'html']).default('json') })

export const listing = {
  says: 'Lists the credit notes, the newest first.',
  answer: pages.pageOf(shown.creditNoteSummary),
}

type Wanted = { limit: number; after?: string | undefined } & (Caller | (Operator & { account_id: string }))

/** A page goes on before the number that the id in `after` has. */
export async function listedCreditNotes(c: Call, { limit, after, ...asker }: Wanted): Promise<Response> {
  const account_id = await accountOf(c.env, { ...asker, scope: 'usage' })
  const after_number = after === undefined ? undefined : rowOf(after).number
  const notes = await rowsOf(c.env, 'list_credit_notes', { account_id, limit, after_number })
  return c.json(pageOf(notes.map(summary), limit, ({ id }) => id))
}

function summary({ invoice_number, ...row }: QueryRow<'list_credit_notes'>): shown.CreditNoteSummary {
  const { account_id, number } = row
  const ids = { id: `cn_${account_id}_${number}`, invoice_id: `inv_${account_id}_${invoice_number}` }
  return { object: 'credit_note', ...ids, ...publicRow(row) }
}

/** Makes the endpoint for one credit note that the asker may see. */
export function creditNoteEndpoint<A extends Asker>() {
  return endpoint(
    {
      says: 'Shows a credit note: as JSON, or as a page that prints.',
      query: formQuery,
      answer: shown.creditNote,
      also: { 'text/html': null },
    },
    async (c, asker: A) => {
      const id = pathId(c, 'id', creditNoteId)
      const { format } = readQuery(c, formQuery)
      const { credit_note } = await obtain(c.env, 'read_credit_note', { ...rowOf(id), ...asker }, 'allowed')
      const note: shown.CreditNote = { object: 'credit_note', ...credit_note }
      return format === 'html' ? page(creditNoteHtml(note)) : c.json(note)
    },
  )
}

function rowOf(id: string): { account_id: string; number: number } {
  const [, account_id, number] = id.split('_')
  return { account_id: account_id!, number: Number(number) }
}
