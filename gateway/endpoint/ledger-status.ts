// What the last passes over the ledger found, in one word.

import { failingChecks, type LedgerHealth } from '../billing/reconcile.ts'

export function ledgerStatus(health: LedgerHealth): 'ok' | 'drift' | 'unchecked' {
  const failing = failingChecks(health)
  if (failing.length === 0) return 'ok'
  return failing.every((check) => check === 'unchecked') ? 'unchecked' : 'drift'
}
