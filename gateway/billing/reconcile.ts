// Reconciling the ledger: a pass over the accounts in bounded steps, and what the last passes found.

import { ask } from '../db/ask.ts'
import type { Answer } from '../db/functions.ts'
import type { Env } from '../env.ts'
import { recently } from '../field/recent.ts'

export type LedgerHealth = Omit<Answer<'ledger_health'>, 'decision'>

export const ENTRIES_MAX = 20_000 // a step: some hundred milliseconds
const PASS_MS_MAX = 40_000 // less than the minute until the next
const UNCHECKED_S_MAX = 10 * 60

/** One pass, or as much of one as fits before the next is due. `anew` reads every entry again, not only the new ones. */
export async function reconcile(env: Env, anew = false): Promise<void> {
  const end = Date.now() + PASS_MS_MAX
  let after: string | null = '0'
  while (after !== null && Date.now() < end) {
    const step: Answer<'reconcile'> = await ask(env, 'reconcile', {
      after,
      entries_max: ENTRIES_MAX,
      anew: anew && after === '0',
    })
    after = step.after
  }
}

export async function ledgerHealth(env: Env, findings = false): Promise<LedgerHealth> {
  const { decision: _, ...health } = await ask(env, 'ledger_health', { findings })
  return health
}

/** The health as it was read within this second: it reads tables whole. */
export const recentLedgerHealth = recently((env: Env) => ledgerHealth(env))

/** The names of the checks that do not hold; `unchecked` where nobody has looked, or not for too long. */
export function failingChecks({ checks, checked_s_ago, unchecked_s, journals_behind }: LedgerHealth): string[] {
  const failing = Object.entries(checks).flatMap(([name, { findings }]) => (findings > 0 ? [name] : []))
  if (journals_behind > 0) failing.push('journals') // the database came back older; what it lost is on its way
  return checked_s_ago === null || unchecked_s > UNCHECKED_S_MAX ? [...failing, 'unchecked'] : failing
}
