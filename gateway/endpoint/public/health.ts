// GET /healthz: whether the database answers, and how many nodes serve each model. For anybody, so it says nothing else.

import { askTeller, type Decided } from '../../db/ask.ts'
import type { Call } from '../../env.ts'

export async function health(c: Call): Promise<Response> {
  const [answer] = await askTeller<Decided & { models: Record<string, number> }>(c.env, 'health', {
    shard_by: 'health',
    items: [{}],
  })
  return c.json({ status: 'ok', database: 'ok', nodes: answer!.models })
}
