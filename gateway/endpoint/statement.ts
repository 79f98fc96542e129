// The statement of an account: the lines of its ledger, the newest first, numbered without gaps.

import * as shown from '../../contract/public/entry.ts'
import * as pages from '../../contract/public/page.ts'
import type { QueryItem } from '../db/queries.ts'
import { rowsOf } from '../db/query.ts'
import type { Call } from '../env.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'

export const listing = {
  says: 'Lists every line that moved money of an account, the newest first.',
  answer: pages.pageOf(shown.entry),
}

export async function statement(c: Call, page: QueryItem<'list_entries'>): Promise<Response> {
  const entries = await rowsOf(c.env, 'list_entries', page)
  const data = entries.map((entry): shown.Entry => ({ object: 'entry', ...publicRow(entry) }))
  return c.json(pageOf(data, page.limit, ({ id }) => id))
}
