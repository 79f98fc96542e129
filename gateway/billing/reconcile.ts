// Reconciling the ledger: a pass over the accounts in bounded steps, and what the last passes found.

import { askTeller, type Decided } from '../db/ask.ts'
import type { Env } from '../env.ts'

export interface LedgerHealth {
  checks: Record<string, { findings: number; drift_nanousd: string }>
  checked_s_ago: number | null
  unchecked_s: number // the same, or since everything was to be read where no pass was completed yet
  unread_entries: number
  pending_count: number
  pending_s_max: number
  anomalies: Record<string, number>
  findings: object[] | null
}

interface Step extends Decided {
  after: string | null
}

const ENTRIES_MAX = 20_000 // a step: some hundred milliseconds
const PASS_MS_MAX = 40_000 // less than the minute until the next
const UNCHECKED_S_MAX = 15 * 60

/** One pass, or as much of one as fits before the next is due. `anew` reads every entry again, not only the new ones. */
export async function reconcile(env: Env, anew = false): Promise<void> {
  const end = Date.now() + PASS_MS_MAX
  let after: string | null = '0'
  while (after !== null && Date.now() < end) {
    const item: object = { after, entries_max: ENTRIES_MAX, anew: anew && after === '0' }
    const steps: Step[] = await askTeller(env, 'reconcile', { shard_by: 'reconcile', items: [item] })
    after = steps[0]!.after
  }
}

export async function ledgerHealth(env: Env, findings = false): Promise<LedgerHealth> {
  const [health] = await askTeller<Decided & LedgerHealth>(env, 'ledger_health', {
    shard_by: 'reconcile',
    items: [{ findings }],
  })
  return health!
}

const RECENT_MS = 1000
let recent: { health: LedgerHealth; at_ms: number } | null = null

/** Of this second: anybody may ask, and it reads tables whole. */
export async function recentLedgerHealth(env: Env): Promise<LedgerHealth> {
  const at_ms = Date.now()
  if (!recent || at_ms - recent.at_ms >= RECENT_MS) recent = { health: await ledgerHealth(env), at_ms }
  return recent.health
}

/** The names of the checks that do not hold; `unchecked` where nobody has looked for too long. */
export function failingChecks({ checks, unchecked_s }: LedgerHealth): string[] {
  const failing = Object.keys(checks).filter((name) => checks[name]!.findings > 0)
  return unchecked_s > UNCHECKED_S_MAX ? [...failing, 'unchecked'] : failing
}
