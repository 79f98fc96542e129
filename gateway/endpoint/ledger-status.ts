// What the last passes over the ledger found, in one word.

import { failingChecks, type LedgerHealth } from '../billing/reconcile.ts'

export function ledgerStatus(health: LedgerHealth): 'ok' | 'drift' {
  return failingChecks(health).length === 0 ? 'ok' : 'drift'
}
