// Stripe's API, as much of it as the gateway calls, strict where Stripe is: key, version, parameter names, whole numbers, idempotency
// keys and the identifiers of meter events, each remembered for 24 hours of a clock that a test can move. On demand it loses requests
// and answers, and answers 500 and 429. What it would tell by webhook it queues; a test sends it: signed, twice, in any order.

import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Failure = 'lose_request' | 'lose_answer' | 'error_after' | 500 | 429 | null

export interface StripeServerOptions {
  secret_key: string
  webhook_secret: string
  meter_id: string
  event_name: string
  /** What goes wrong with a call; nothing unless said. */
  failure?: (path: string) => Failure
}

interface MeterEvent {
  identifier: string
  customer: string
  value: bigint
  timestamp: number
}

interface Remembered {
  params: string
  status: number
  body: object
  at_s: number
}

interface Refused {
  status: number
  type: string
  code?: string
  message: string
}

const REMEMBERS_S = 24 * 3600
const DAY_S = 86_400
const EVENT_AGE_S_MAX = 35 * DAY_S

export class StripeServer {
  readonly url: string
  readonly options: StripeServerOptions
  readonly customers = new Map<string, { id: string; metadata: Record<string, string> }>()
  readonly sessions = new Map<string, Session>()
  /** Everything that counts, once. */
  readonly meter_events: MeterEvent[] = []
  /** Events to be sent to the webhook. */
  readonly outbox: object[] = []
  readonly calls: { method: string; path: string; status: number | 'lost' }[] = []
  /** How far its clock is ahead. */
  ahead_s = 0
  readonly #answers = new Map<string, Remembered>()
  readonly #identifiers = new Map<string, number>()
  readonly #close: () => Promise<void>
  #count = 0

  constructor(url: string, options: StripeServerOptions, close: () => Promise<void>) {
    this.url = url
    this.options = options
    this.#close = close
  }

  stop(): Promise<void> {
    return this.#close()
  }

  get now_s(): number {
    return Math.floor(Date.now() / 1000) + this.ahead_s
  }

  /** The sum that its invoices would be made of. */
  metered(customer: string): bigint {
    return this.meter_events.filter((event) => event.customer === customer).reduce((sum, { value }) => sum + value, 0n)
  }

  /** The customer pays: what Stripe then tells. */
  pay(session_id: string): string {
    const session = this.sessions.get(session_id)!
    session.payment_intent = this.#id('pi')
    session.payment_status = 'paid'
    session.status = 'complete'
    this.#tell('checkout.session.completed', { ...session })
    this.#tell('payment_intent.succeeded', {
      id: session.payment_intent,
      object: 'payment_intent',
      amount: session.amount_total,
      amount_received: session.amount_total,
      currency: 'usd',
      customer: session.customer,
      metadata: session.payment_metadata,
      status: 'succeeded',
    })
    return session.payment_intent
  }

  /** An invoice of a postpaid customer is paid. */
  payInvoice(customer: string, cents: number): string {
    const id = this.#id('pi')
    this.#tell('payment_intent.succeeded', {
      id,
      object: 'payment_intent',
      amount: cents,
      amount_received: cents,
      currency: 'usd',
      customer,
      metadata: {},
      status: 'succeeded',
    })
    return id
  }

  refund(
    payment_intent: string,
    cents: number,
    statuses: ('pending' | 'succeeded' | 'failed')[] = ['succeeded'],
  ): string {
    const id = this.#id('re')
    statuses.forEach((status, i) => {
      const type = i === 0 ? 'refund.created' : status === 'failed' ? 'refund.failed' : 'refund.updated'
      this.#tell(type, { id, object: 'refund', payment_intent, amount: cents, currency: 'usd', status, metadata: {} })
    })
    return id
  }

  dispute(payment_intent: string, cents: number, ends: 'won' | 'lost'): string {
    const id = this.#id('dp')
    const object = { id, object: 'dispute', payment_intent, amount: cents, currency: 'usd', metadata: {} }
    this.#tell('charge.dispute.funds_withdrawn', { ...object, status: 'needs_response' })
    if (ends === 'won') this.#tell('charge.dispute.funds_reinstated', { ...object, status: 'won' })
    return id
  }

  /** A request to the webhook, signed as Stripe signs. */
  signed(event: object, secret = this.options.webhook_secret, at_s = Math.floor(Date.now() / 1000)) {
    const body = JSON.stringify(event)
    const signature = createHmac('sha256', secret).update(`${at_s}.${body}`).digest('hex')
    return { body, headers: { 'content-type': 'application/json', 'stripe-signature': `t=${at_s},v1=${signature}` } }
  }

  #tell(type: string, object: object): void {
    const event = { id: this.#id('evt'), object: 'event', api_version: '2026-10-28.acacia', created: this.now_s, type }
    this.outbox.push({ ...event, livemode: false, pending_webhooks: 1, request: null, data: { object } })
  }

  #id(prefix: string): string {
    this.#count += 1
    return `${prefix}_test${String(this.#count).padStart(6, '0')}`
  }

  async answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url!, this.url)
    const text = await textOf(req)
    const failure = this.options.failure?.(url.pathname) ?? null
    const call = { method: req.method!, path: url.pathname, status: 'lost' as number | 'lost' }
    this.calls.push(call)
    if (failure === 'lose_request') return void req.socket.destroy()
    const limited = { status: 429, body: refusal('rate_limit_error', 'Too many requests', 'rate_limit') }
    const answer = failure === 429 ? limited : this.#run(req, url, text, failure)
    if (failure === 'lose_answer') return void req.socket.destroy()
    call.status = answer.status
    send(res, answer.status, answer.body)
  }

  #run(req: IncomingMessage, url: URL, text: string, failure: Failure) {
    try {
      this.#authenticate(req)
      return this.#remembered(req, `${url.pathname}?${text}`, () => {
        if (failure === 500) return internalError()
        const body = this.#route(req.method!, url, parameters(req.method === 'GET' ? url.search.slice(1) : text))
        // Done, and yet answered as an error: that too Stripe says again.
        return failure === 'error_after' ? internalError() : { status: 200, body }
      })
    } catch (error) {
      const refused = error as Refused
      if (!refused.status) throw error
      return { status: refused.status, body: refusal(refused.type, refused.message, refused.code) }
    }
  }

  #authenticate(req: IncomingMessage): void {
    if (req.headers.authorization !== `Bearer ${this.options.secret_key}`)
      throw refuse(401, 'Invalid API Key provided', undefined, 'invalid_request_error')
    if (!req.headers['stripe-version']) throw refuse(400, 'no Stripe-Version')
    if (req.method === 'POST' && req.headers['content-type'] !== 'application/x-www-form-urlencoded')
      throw refuse(400, 'Invalid request content type')
    if (req.method === 'POST' && !req.headers['idempotency-key'])
      throw refuse(400, 'this server wants an idempotency key')
  }

  /** The first answer for an idempotency key, whatever it was, is the answer for 24 hours. */
  #remembered(req: IncomingMessage, params: string, run: () => { status: number; body: object }) {
    const key = String(req.headers['idempotency-key'] ?? '')
    const known = this.#answers.get(key)
    if (key && known && known.at_s > this.now_s - REMEMBERS_S) {
      if (known.params !== params)
        throw refuse(
          400,
          'Keys for idempotent requests can only be used with the same parameters',
          undefined,
          'idempotency_error',
        )
      return known
    }
    const answer = run()
    if (key) this.#answers.set(key, { ...answer, params, at_s: this.now_s })
    return answer
  }

  #route(method: string, { pathname }: URL, params: Params): object {
    if (method === 'POST' && pathname === '/v1/customers') return this.#createCustomer(params)
    if (method === 'POST' && pathname === '/v1/checkout/sessions') return this.#createSession(params)
    if (method === 'POST' && pathname === '/v1/billing/meter_events') return this.#createMeterEvent(params)
    if (method === 'GET' && pathname === `/v1/billing/meters/${this.options.meter_id}/event_summaries`)
      return this.#summaries(params)
    throw refuse(404, `Unrecognized request URL (${method}: ${pathname})`)
  }

  #createCustomer(params: Params): object {
    allow(params, ['name', 'email', 'description'], [/^metadata\[\w+\]$/])
    const customer = { id: this.#id('cus').replaceAll('_test', '_T'), metadata: metadataOf(params, 'metadata') }
    this.customers.set(customer.id, customer)
    return { ...customer, object: 'customer', name: params.get('name') ?? null }
  }

  #createSession(params: Params): object {
    const price = 'line_items[0][price_data]'
    const names = ['mode', 'customer', 'client_reference_id', 'success_url', 'cancel_url', 'line_items[0][quantity]']
    const prices = [`${price}[currency]`, `${price}[unit_amount]`, `${price}[product_data][name]`]
    allow(params, [...names, ...prices], [/^metadata\[\w+\]$/, /^payment_intent_data\[metadata\]\[\w+\]$/])
    for (const name of ['mode', 'success_url', ...prices]) required(params, name)
    const customer = params.get('customer')
    if (customer && !this.customers.has(customer))
      throw refuse(400, `No such customer: '${customer}'`, 'resource_missing')
    const amount = wholeNumber(params, `${price}[unit_amount]`)
    if (amount < 50n || amount > 99_999_999n) throw refuse(400, 'amount out of range', 'amount_too_small')
    const id = this.#id('cs')
    const session: Session = {
      id,
      object: 'checkout.session',
      url: `https://checkout.stripe.test/c/pay/${id}`,
      mode: 'payment',
      status: 'open',
      payment_status: 'unpaid',
      payment_intent: null,
      currency: params.get(`${price}[currency]`)!,
      amount_total: Number(amount * BigInt(params.get('line_items[0][quantity]') ?? '1')),
      customer: customer ?? null,
      metadata: metadataOf(params, 'metadata'),
      payment_metadata: metadataOf(params, 'payment_intent_data[metadata]'),
      expires_at: this.now_s + DAY_S,
    }
    this.sessions.set(id, session)
    return session
  }

  #createMeterEvent(params: Params): object {
    allow(params, ['event_name', 'identifier', 'timestamp', 'payload[stripe_customer_id]', 'payload[value]'], [])
    for (const name of ['event_name', 'payload[stripe_customer_id]', 'payload[value]']) required(params, name)
    if (params.get('event_name') !== this.options.event_name) throw refuse(400, 'No active meter with this event name')
    const customer = params.get('payload[stripe_customer_id]')!
    if (!this.customers.has(customer)) throw refuse(400, `No such customer: '${customer}'`, 'resource_missing')
    const value = wholeNumber(params, 'payload[value]')
    const timestamp = Number(params.get('timestamp') ?? this.now_s)
    if (timestamp < this.now_s - EVENT_AGE_S_MAX || timestamp > this.now_s + 300)
      throw refuse(400, 'timestamp out of range', 'timestamp_out_of_range')
    const identifier = params.get('identifier') ?? this.#id('event')
    if (identifier.length > 100) throw refuse(400, 'identifier too long')
    if ((this.#identifiers.get(identifier) ?? -Infinity) > this.now_s - REMEMBERS_S)
      throw refuse(400, `An event already exists with identifier ${identifier}.`, 'duplicate_meter_event')
    this.#identifiers.set(identifier, this.now_s)
    this.meter_events.push({ identifier, customer, value, timestamp })
    const payload = { stripe_customer_id: customer, value: String(value) }
    const { event_name } = this.options
    return {
      object: 'billing.meter_event',
      created: this.now_s,
      event_name,
      identifier,
      livemode: false,
      payload,
      timestamp,
    }
  }

  #summaries(params: Params): object {
    allow(params, ['customer', 'start_time', 'end_time', 'value_grouping_window', 'limit', 'starting_after'], [])
    for (const name of ['customer', 'start_time', 'end_time']) required(params, name)
    const [start, end] = [Number(params.get('start_time')), Number(params.get('end_time'))]
    if (params.get('value_grouping_window') !== 'day') throw refuse(400, 'this server groups by day')
    if (start % DAY_S !== 0 || end % DAY_S !== 0) throw refuse(400, 'start and end must align with UTC days')
    const own = this.meter_events.filter(
      ({ customer, timestamp }) => customer === params.get('customer') && timestamp >= start && timestamp < end,
    )
    const days = Map.groupBy(own, ({ timestamp }) => timestamp - (timestamp % DAY_S))
    const data = Array.from(days, ([start_time, events]) => ({
      id: `mtrusg_${start_time}`,
      object: 'billing.meter_event_summary',
      aggregated_value: Number(events.reduce((sum, { value }) => sum + value, 0n)),
      start_time,
      end_time: start_time + DAY_S,
      livemode: false,
      meter: this.options.meter_id,
    }))
    return { object: 'list', url: `/v1/billing/meters/${this.options.meter_id}/event_summaries`, has_more: false, data }
  }
}

interface Session {
  id: string
  object: 'checkout.session'
  url: string
  mode: 'payment'
  status: 'open' | 'complete'
  payment_status: 'unpaid' | 'paid'
  payment_intent: string | null
  currency: string
  amount_total: number
  customer: string | null
  metadata: Record<string, string>
  payment_metadata: Record<string, string>
  expires_at: number
}

type Params = Map<string, string>

export async function startStripeServer(options: StripeServerOptions): Promise<StripeServer> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const stripe = new StripeServer(url, options, async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  server.on('request', (req, res) => void stripe.answer(req, res))
  return stripe
}

function parameters(text: string): Params {
  const params: Params = new Map()
  for (const [name, value] of new URLSearchParams(text)) {
    if (params.has(name)) throw refuse(400, `Received ${name} twice`)
    params.set(name, value)
  }
  return params
}

function allow(params: Params, names: string[], patterns: RegExp[]): void {
  for (const name of params.keys())
    if (!names.includes(name) && !patterns.some((pattern) => pattern.test(name)))
      throw refuse(400, `Received unknown parameter: ${name}`, 'parameter_unknown')
}

function required(params: Params, name: string): void {
  if (!params.get(name)) throw refuse(400, `Missing required param: ${name}.`, 'parameter_missing')
}

function wholeNumber(params: Params, name: string): bigint {
  const text = params.get(name) ?? ''
  if (!/^-?\d{1,15}$/.test(text)) throw refuse(400, `Invalid integer: ${text}`, 'parameter_invalid_integer')
  return BigInt(text)
}

function metadataOf(params: Params, prefix: string): Record<string, string> {
  const entries = Array.from(params).filter(([name]) => name.startsWith(`${prefix}[`))
  return Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length + 1, -1), value]))
}

function refuse(status: number, message: string, code?: string, type = 'invalid_request_error'): Refused {
  return { status, type, message, ...(code && { code }) }
}

function refusal(type: string, message: string, code?: string): object {
  return { error: { type, message, ...(code && { code }) } }
}

function internalError() {
  return { status: 500, body: refusal('api_error', 'An unknown error occurred') }
}

function send(res: ServerResponse, status: number, body: object): void {
  res.writeHead(status, { 'content-type': 'application/json', 'request-id': 'req_test' })
  res.end(JSON.stringify(body))
}

async function textOf(req: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of req) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}
