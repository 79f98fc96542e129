// Pushes what postpaid accounts used to Stripe's meter, and compares both sides a day after. The meter counts nano-USD, so the
// price book stays ours and Stripe's invoice is exact to the cent it rounds to. What is sent, and whether it may be sent again, the
// database decides (migrations/ledger/metering.sql); here it is carried over.

import type Stripe from 'stripe'
import { ask } from '../db/ask.ts'
import type { Answer } from '../db/functions.ts'
import type { Env } from '../env.ts'
import { describe, stripeOf } from './stripe.ts'

type MeterEvent = Answer<'claim_meter_events'>['events'][number]
type MeterDay = Answer<'due_meter_days'>['days'][number]

// The bounds of a run, which has a minute: Cloudflare gives it a thousand calls, Stripe a thousand a second and one at a time for each customer.
const EVENTS_MAX = 400
const DAYS_MAX = 100
const AT_ONCE = 8
const DAY_S = 86_400

/** All of it may be repeated, and cut off anywhere. */
export async function pushMeter(env: Env): Promise<void> {
  if (!env.STRIPE_SECRET_KEY || !env.STRIPE_METER_ID) return
  const stripe = await stripeOf(env)
  await collect(env)
  const { events } = await ask(env, 'claim_meter_events', { count_max: EVENTS_MAX, names_deployment: true })
  await inTurn(events, (event) => send(env, stripe, event))
  const { days } = await ask(env, 'due_meter_days', { count_max: DAYS_MAX })
  await inTurn(days, (day) => reconcile(env, stripe, day))
}

const COLLECT = { count_max: 50, entries_max: 10_000 } // some 100 ms of the database, where all fifty are busy
const COLLECT_CALLS_MAX = 100

async function collect(env: Env): Promise<void> {
  for (let calls = 0; calls < COLLECT_CALLS_MAX; calls += 1)
    if ((await ask(env, 'collect_metering', COLLECT)).count === 0) return
}

/** One after another for each customer, several customers at once. */
async function inTurn<T extends { customer_id: string }>(items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const customers = Array.from(Map.groupBy(items, ({ customer_id }) => customer_id).values())
  const worker = async () => {
    for (let own = customers.pop(); own; own = customers.pop()) for (const item of own) await run(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

async function send(env: Env, stripe: Stripe, event: MeterEvent): Promise<void> {
  const { account_id, customer_id, hour_unix_s, revision, attempt, identifier, value_nanousd } = event
  const state = await outcomeOf(
    stripe.billing.meterEvents.create(
      {
        event_name: env.STRIPE_METER_EVENT,
        identifier,
        timestamp: hour_unix_s,
        payload: { stripe_customer_id: customer_id, value: value_nanousd },
      },
      // Stripe repeats an answer for a key, a 500 too: so each attempt has its own, and the identifier makes it count once.
      { idempotencyKey: `${identifier}-${attempt}` },
    ),
  )
  if (state) await ask(env, 'note_meter_event', { account_id, hour_unix_s, revision, ...state })
}

/** What is known now; null where it must be asked again. */
async function outcomeOf(call: Promise<unknown>): Promise<{ state: 'sent' | 'rejected'; error: string | null } | null> {
  try {
    await call
    return { state: 'sent', error: null }
  } catch (error) {
    const { statusCode, code, message } = error as Partial<Stripe.errors.StripeError>
    const known = code === 'duplicate_meter_event' || message?.startsWith('An event already exists with identifier')
    if (statusCode === 400 && known) return { state: 'sent', error: null }
    console.error(`stripe: meter event: ${describe(error)}`)
    return statusCode === 400 ? { state: 'rejected', error: describe(error) } : null
  }
}

async function reconcile(env: Env, stripe: Stripe, day: MeterDay): Promise<void> {
  const counted_nanousd = await countedByStripe(env, stripe, day)
  if (counted_nanousd === null) return // due again with the next run
  const { customer_id, day_unix_s } = day
  const compared = await ask(env, 'reconcile_meter_day', { customer_id, day_unix_s, counted_nanousd })
  if (compared.decision === 'corrected')
    console.error(
      `stripe: customer ${customer_id} is corrected by ${compared.missing_nanousd} nano-USD of day ${day_unix_s}`,
    )
}

async function countedByStripe(
  env: Env,
  stripe: Stripe,
  { customer_id, day_unix_s }: MeterDay,
): Promise<string | null> {
  try {
    const { data } = await stripe.billing.meters.listEventSummaries(env.STRIPE_METER_ID!, {
      customer: customer_id,
      start_time: day_unix_s,
      end_time: day_unix_s + DAY_S,
      value_grouping_window: 'day',
    })
    // A sum of whole numbers below 2^53, which is nine million dollars a day: exact in the number that it comes as.
    return String(data.reduce((sum, { aggregated_value }) => sum + BigInt(aggregated_value), 0n))
  } catch (error) {
    console.error(`stripe: reconcile: ${describe(error)}`)
    return null
  }
}
