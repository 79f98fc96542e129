// Sends what is due: leases endpoints, sends to each in turn, notes every outcome before the next. Several may do so at once, and any may be
// cut off anywhere: what it had leased is sent again when the lease has ended, under the same id. An endpoint that is slow takes a place
// of a few, so that all others go on beside it.

import { ask } from '../db/ask.ts'
import type { Answer, Item } from '../db/functions.ts'
import { type Env, settingsOf } from '../env.ts'
import { attempt } from './attempt.ts'
import { sendEmail } from './email.ts'
import type { Outcome } from './exchange.ts'
import { opened } from './secret.ts'

type Leased = Answer<'claim_deliveries'>['endpoints'][number]
type Delivery = Leased['deliveries'][number]

// Cloudflare gives an invocation six connections at a time.
const AT_ONCE = 6
const SLOW_AT_ONCE = 3
const DELIVERIES_MAX = 20
// A lease lasts as long as its deliveries may take: new ones are begun for so long, and the last one has its deadline.
const BEGIN_MS_MAX = 10_000
const LEASE_SLACK_MS = 20_000
const REST_MS = 5000
const SECRET_LOST_REST_MS = 60_000
const THROTTLED = [429, 502, 503, 504]

interface Times {
  /** Nothing is begun after it. */
  send_ms: number
  /** What becomes due within it is waited for. */
  wait_ms: number
}

/** Sends what is due, and brings to its end what it has begun, also where it cannot ask for more. */
export async function deliverDue(env: Env, times: Times): Promise<void> {
  const sending = new Map<Promise<void>, Leased>()
  try {
    await sendInTurn(env, times, sending)
  } finally {
    await Promise.all(sending.keys())
  }
}

async function sendInTurn(env: Env, { send_ms, wait_ms }: Times, sending: Map<Promise<void>, Leased>): Promise<void> {
  const [end_ms, wait_end_ms] = [Date.now() + send_ms, Date.now() + wait_ms]
  while (Date.now() < end_ms) {
    const free = AT_ONCE - sending.size
    const slow = SLOW_AT_ONCE - [...sending.values()].filter(({ is_slow }) => is_slow).length
    const { endpoints, next_due_ms } = free > 0 ? await claim(env, free, Math.min(free, slow)) : NONE
    for (const endpoint of endpoints) {
      const sent: Promise<void> = deliverTo(env, endpoint)
        .catch((error) => console.error(`webhooks: endpoint ${endpoint.endpoint_id}: ${String(error)}`)) // its lease ends by itself
        .finally(() => sending.delete(sent))
      sending.set(sent, endpoint)
    }
    if (endpoints.length > 0) continue
    const is_due_later = next_due_ms !== null && Date.now() + next_due_ms < wait_end_ms
    if (sending.size === 0 && !is_due_later) return
    await Promise.race([...sending.keys(), ...(is_due_later ? [sleep(next_due_ms)] : [])])
  }
}

const NONE: Pick<Answer<'claim_deliveries'>, 'endpoints' | 'next_due_ms'> = { endpoints: [], next_due_ms: null }

function claim(env: Env, count_max: number, slow_max: number): Promise<Answer<'claim_deliveries'>> {
  const lease_ms = BEGIN_MS_MAX + settingsOf(env).webhooks.ms_max + LEASE_SLACK_MS
  return ask(env, 'claim_deliveries', { count_max, slow_max, lease_ms, deliveries_max: DELIVERIES_MAX })
}

/** One after another. After one that was not answered in time, or was told to wait, the endpoint is left alone for a while. */
async function deliverTo(env: Env, endpoint: Leased): Promise<void> {
  const { endpoint_id, lease, deliveries } = endpoint
  const note = (item: Omit<Item<'note_attempt'>, 'endpoint_id' | 'lease'>) =>
    ask(env, 'note_attempt', { endpoint_id, lease, ...item })
  const secrets = await Promise.all(endpoint.secrets.map((secret) => opened(env, secret)))
  if (!secrets.every((secret) => secret !== null)) {
    console.error(`webhooks: the secret of endpoint ${endpoint_id} was sealed with another DATA_SECRET`)
    await note({ releases: true, rest_ms: SECRET_LOST_REST_MS, attempt: null })
    return
  }
  const end_ms = Date.now() + BEGIN_MS_MAX
  for (const [i, delivery] of deliveries.entries()) {
    const outcome = await send(env, endpoint, delivery, secrets)
    const rest_ms = restAfter(outcome)
    const releases = i === deliveries.length - 1 || rest_ms !== null || Date.now() >= end_ms
    const attempt = { delivery_id: delivery.delivery_id, tries: delivery.tries, ...outcome }
    const { decision } = await note({ releases, attempt, ...(rest_ms !== null && { rest_ms }) })
    if (releases || decision === 'superseded') return
  }
}

const MAILTO = 'mailto:'

function send(env: Env, { kind, url }: Leased, { event_id, body }: Delivery, secrets: string[]): Promise<Outcome> {
  if (kind === 'email') return sendEmail(env, url.slice(MAILTO.length), body)
  return attempt(env, url, { id: event_id, body }, secrets)
}

/** For how long an endpoint is to be left alone; null where it need not be. */
function restAfter({ status, error, retry_after_s }: Outcome): number | null {
  const is_throttled = status !== null && THROTTLED.includes(status)
  if (!is_throttled && error !== 'no answer in time') return null
  return Math.max(REST_MS, 1000 * (retry_after_s ?? 0))
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
