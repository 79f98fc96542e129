// Sends at once what a request has caused, after its answer.

import type { Call } from '../env.ts'
import { deliverDue } from './deliver.ts'

// Those that come at nearly the same time are sent by one of them.
const GATHER_MS = 20
const SEND_MS_MAX = 10_000 // with one deadline more, less than a request may outlive its answer

let gathering_since_ms = Number.NEGATIVE_INFINITY

export function sendSoon(c: Call): void {
  if (Date.now() - gathering_since_ms < GATHER_MS) return
  gathering_since_ms = Date.now()
  c.executionCtx.waitUntil(
    new Promise((resolve) => setTimeout(resolve, GATHER_MS))
      .then(() => deliverDue(c.env, { send_ms: SEND_MS_MAX, wait_ms: SEND_MS_MAX }))
      .catch((error) => console.error(`webhooks: ${String(error)}`)),
  )
}
