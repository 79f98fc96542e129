// The cron's part of invoices: cuts what is due, then adds up drafts, a bounded piece a call, until nothing is left or the run has
// had its share. What is left waits a minute.

import { ask } from '../db/ask.ts'
import type { Env } from '../env.ts'
import { untilNothing } from '../until-nothing.ts'

const ACCOUNTS_MAX = 200
const ENTRIES_MAX = 5_000 // some 50 ms of the database

export async function closeInvoices(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'cut_invoices', { count_max: ACCOUNTS_MAX }))
  await untilNothing(() => ask(env, 'sum_invoices', { entries_max: ENTRIES_MAX }))
}
