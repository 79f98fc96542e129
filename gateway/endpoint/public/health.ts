// GET /healthz: whether the database answers, and how many nodes serve each model. GET /healthz/ledger: whether the books agree, by the
// names of the checks alone. Both are for anybody, so they say nothing else.

import { ledgerHealth, health as shown } from '../../../contract/public/health.ts'
import { failingChecks, recentLedgerHealth } from '../../billing/reconcile.ts'
import { ask } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ledgerStatus } from '../ledger-status.ts'

export const health = endpoint(
  { says: 'Says whether the database answers, and how many nodes serve each model.', answer: shown },
  async (c) => {
    const { models } = await ask(c.env, 'health', { registered_nodes: true })
    return c.json({ status: 'ok', database: 'ok', nodes: models })
  },
)

export const ledgerHealthz = endpoint(
  { says: 'Says whether the books agree; 503 where they do not.', answer: ledgerHealth, statuses: [200, 503] },
  async (c) => {
    const found = await recentLedgerHealth(c.env)
    const failing = failingChecks(found)
    const body = { status: ledgerStatus(found), failing, checked_s_ago: found.checked_s_ago }
    return c.json(body, failing.length === 0 ? 200 : 503)
  },
)
