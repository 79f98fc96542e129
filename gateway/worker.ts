// The worker's entry: requests, and what is due each minute.

import type { ScheduledController } from '@cloudflare/workers-types'
import { app } from './app.ts'
import { closeInvoices } from './billing/close-invoices.ts'
import { reconcile } from './billing/reconcile.ts'
import { pushMeter } from './billing/stripe-meter.ts'
import { ask } from './db/ask.ts'
import { advanceBatches } from './endpoint/public/batch-steps.ts'
import { type Env, settingsOf } from './env.ts'
import { deleteParts } from './files/part.ts'
import { untilNothing } from './until-nothing.ts'
import { deliverDue } from './webhook/deliver.ts'
import { resealSecrets } from './webhook/reseal.ts'

export { Teller } from './db/teller.ts'

export default {
  fetch: app.fetch,
  async scheduled(_event: ScheduledController, env: Env): Promise<void> {
    const done = await Promise.allSettled(duties.map((duty) => duty(env)))
    const failed = done.filter((duty) => duty.status === 'rejected')
    for (const { reason } of failed) console.error('scheduled:', reason)
    if (failed.length > 0) throw new Error(`${failed.length} of ${duties.length} duties failed`)
  },
}

// A duty that fails keeps no other from being done. All may be repeated, and cut off anywhere.
const duties = [
  expireReservations,
  expireGrants,
  addUsageMonths,
  forgetRequests,
  forgetResponses,
  tendJobs,
  forgetEvents,
  forgetFiles,
  (env: Env) => advanceBatches(env, BATCH_MS_MAX),
  forgetBatches,
  sendWebhooks,
  closeInvoices,
  pushMeter,
  (env: Env) => reconcile(env),
]

async function expireReservations(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'expire', { count_max: 10_000 }))
}

/** Forgets the results of idempotent requests after their day, some hundred milliseconds' worth of bytes at a time. */
async function forgetRequests(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'forget_requests', { count_max: 10_000, bytes_max: 64 << 20 }))
}

/** Forgets stored responses after their thirty days. */
async function forgetResponses(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'forget_responses', { count_max: 1000 }))
}

async function tendJobs(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'tend_jobs', { count_max: 1000 }))
}

async function expireGrants(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'expire_due_grants', { count_max: 1000 }))
}

async function forgetEvents(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'forget_events', { count_max: 1000 }))
}

/** Deletes what lies of files that are over. An object goes before the row that names it. */
async function forgetFiles(env: Env): Promise<void> {
  await untilNothing(async () => {
    const { part_ids, count } = await ask(env, 'due_parts', { count_max: 200 })
    if (part_ids.length === 0) return { count }
    await deleteParts(env, part_ids)
    await ask(env, 'forget_parts', { part_ids })
    return { count }
  })
}

const BATCH_MS_MAX = 40_000 // less than the minute until the next run

async function forgetBatches(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'forget_batches', { count_max: 5000 }))
}

const SEND_MS_MAX = 50_000 // less than the minute until the next run

/** What is due within the minute, whoever else sends as well. Keys that will end are told of first. */
async function sendWebhooks(env: Env): Promise<void> {
  await untilNothing(() => ask(env, 'note_expiring_keys', { count_max: 1000 }))
  await resealSecrets(env)
  await deliverDue(env, { send_ms: SEND_MS_MAX, wait_ms: settingsOf(env).webhooks.watch_ms })
}

async function addUsageMonths(env: Env): Promise<void> {
  const { decision } = await ask(env, 'add_usage_months', { months_ahead: 2 })
  if (decision === 'locked') throw new Error('the months of usage cannot be made: somebody holds a lock on it')
}
