// The worker's entry: requests, and each minute the reservations nobody reported on.

import type { ScheduledController } from '@cloudflare/workers-types'
import { app } from './app.ts'
import { askTeller } from './db/ask-teller.ts'
import type { Env } from './env.ts'

export { Teller } from './teller.ts'

export default {
  fetch: app.fetch,
  async scheduled(_event: ScheduledController, env: Env): Promise<void> {
    await askTeller(env, 'expire', { shard_by: 'expire', items: [{ count_max: 10_000 }] })
  },
}
