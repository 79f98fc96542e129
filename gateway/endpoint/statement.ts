// The statement of an account: the lines of its ledger, the newest first, numbered without gaps.

import type { Entry } from '../../contract/public/entry.ts'
import type { QueryItem } from '../db/queries.ts'
import { query } from '../db/query.ts'
import type { Call } from '../env.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'

export async function statement(c: Call, page: QueryItem<'list_entries'>): Promise<Response> {
  const entries = await query(c.env, 'list_entries', page)
  const shown = entries.map((entry): Entry => ({ object: 'entry', ...publicRow(entry) }))
  return c.json(pageOf(shown, page.limit, ({ id }) => id))
}
