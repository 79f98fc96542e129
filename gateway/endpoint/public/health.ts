// GET /healthz: whether the database answers, and how many nodes serve each model. GET /healthz/ledger: whether the books agree, by the
// names of the checks alone. Both are for anybody, so they say nothing else.

import { failingChecks, recentLedgerHealth } from '../../billing/reconcile.ts'
import { askTeller, type Decided } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { ledgerStatus } from '../ledger-status.ts'

export async function health(c: Call): Promise<Response> {
  const [answer] = await askTeller<Decided & { models: Record<string, number> }>(c.env, 'health', {
    shard_by: 'health',
    items: [{}],
  })
  return c.json({ status: 'ok', database: 'ok', nodes: answer!.models })
}

export async function ledgerHealthz(c: Call): Promise<Response> {
  const health = await recentLedgerHealth(c.env)
  const failing = failingChecks(health)
  const body = { status: ledgerStatus(health), failing, checked_s_ago: health.checked_s_ago }
  return c.json(body, failing.length === 0 ? 200 : 503)
}
