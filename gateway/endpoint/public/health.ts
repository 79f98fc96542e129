// GET /livez: that the gateway runs. GET /readyz, and /healthz: whether it can do its work, and how many nodes serve each model. GET
// /healthz/ledger: whether the books agree, by the names of the checks alone. All are for anybody, so they say nothing else.

import type * as z from 'zod'
import { ledgerHealth, liveness, health as shown } from '../../../contract/public/health.ts'
import { lockMsMax } from '../../billing/ledger.ts'
import { failingChecks, recentLedgerHealth } from '../../billing/reconcile.ts'
import { ask } from '../../db/ask.ts'
import { functions, type Item } from '../../db/functions.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import type { Env } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { recently } from '../../field/recent.ts'
import { ledgerStatus } from '../ledger-status.ts'

export const live = endpoint({ says: 'Says that the gateway runs.', answer: liveness }, async (c) =>
  c.json({ status: 'ok' }),
)

export const health = endpoint(
  {
    says: 'Says whether the database answers all that is asked of it, and how many nodes serve each model.',
    answer: shown,
    statuses: [200, 503],
  },
  async (c) => {
    const found = await recentReadiness(c.env)
    return c.json(found, found.status === 'ok' ? 200 : 503)
  },
)

export const ledgerHealthz = endpoint(
  { says: 'Says whether the books agree; 503 where they do not.', answer: ledgerHealth, statuses: [200, 503] },
  async (c) => {
    const found = await recentLedgerHealth(c.env).catch(unavailable)
    const failing = failingChecks(found)
    const body = { status: ledgerStatus(found), failing, checked_s_ago: found.checked_s_ago }
    return c.json(body, failing.length === 0 ? 200 : 503)
  },
)

const recentReadiness = recently(readiness)

async function readiness(env: Env): Promise<z.infer<typeof shown>> {
  try {
    return { status: 'ok', database: 'ok', nodes: await nodesServing(env) }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return { status: 'unavailable', database: 'unavailable', nodes: {} }
  }
}

// A key of nobody's: the answer comes by the whole way of an admission, and changes nothing.
const NOBODYS: Omit<Item<'admit'>, 'request_id'> = {
  key_hash: '00',
  model: '',
  prompt_tokens_max: 1,
  request_output_tokens_max: 1,
  ttl_ms: 1,
}

/** By model. Throws where the database refuses any of what the gateway needs: functions, writing, an admission, reading views. */
async function nodesServing(env: Env): Promise<Record<string, number>> {
  const [{ models, missing = [], writable = true }] = await Promise.all([
    ask(env, 'health', { registered_nodes: true, needs: Object.keys(functions) }),
    ask(env, 'admit', { ...NOBODYS, request_id: crypto.randomUUID(), lock_ms_max: lockMsMax(env) }),
    rowsOf(env, 'list_prices', { limit: 1 }),
  ])
  if (missing.length > 0) console.error(`not ready: the database has not, or does not allow: ${missing.join(', ')}`)
  if (!writable) console.error('not ready: the database can only be read')
  if (missing.length > 0 || !writable) throw new ApiError('database_unavailable')
  return models
}

function unavailable(error: unknown): never {
  throw error instanceof ApiError ? new ApiError('database_unavailable') : error
}
