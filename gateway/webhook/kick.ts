// Sends at once what a request has caused, after its answer.

import type { Call } from '../env.ts'
import { deliverDue } from './deliver.ts'

// Those that come at nearly the same time are sent by one of them.
const GATHER_MS = 20
/** For what seldom causes anything, and comes often. */
export const SELDOM_MS = 250
const SEND_MS_MAX = 10_000 // with one deadline more, less than a request may outlive its answer

let begins_ms = Number.NEGATIVE_INFINITY // of the one that was begun last

export function sendSoon(c: Call, gather_ms = GATHER_MS): void {
  const now_ms = Date.now()
  if (now_ms < begins_ms && begins_ms <= now_ms + gather_ms) return // it will see what this one has caused
  begins_ms = now_ms + gather_ms
  c.executionCtx.waitUntil(
    new Promise((resolve) => setTimeout(resolve, gather_ms))
      .then(() => deliverDue(c.env, { send_ms: SEND_MS_MAX, wait_ms: SEND_MS_MAX }))
      .catch((error) => console.error(`webhooks: ${String(error)}`)),
  )
}
