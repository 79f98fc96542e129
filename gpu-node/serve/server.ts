// The node on the wire: POST /generate for the gateway, /healthz, /status and /metrics for who watches. Guards, then the
// door, then the step loop writes to the raw socket: what one step made for a stream is one write.

import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import type { Logger } from 'pino'
import { type GenerateRequest, TICKET_HEADER } from '../../contract/internal/generation.ts'
import type { NodeStatus } from '../../contract/internal/sync.ts'
import type { Ticket } from '../../contract/internal/ticket.ts'
import type { NodeConfig } from '../config.ts'
import type { Journal } from '../meter/journal.ts'
import { Refusal } from '../refusal.ts'
import type { Scheduler } from '../run/native/scheduler.ts'
import type { StepLoop } from '../run/native/step-loop.ts'
import { Client } from './client.ts'
import { type Accepted, acceptRequest, acceptTicket, type Door, parseRequest } from './door.ts'
import { guardMetrics } from './guard-metrics.ts'
import type { Metrics } from './metrics.ts'

const BODY_BYTES_MAX = 8 << 20
const TIMER_MS_MAX = 2 ** 31 - 1 // setTimeout takes a longer time for none at all

export interface ServerOptions {
  config: Pick<
    NodeConfig,
    'model_id' | 'node_secret' | 'metrics_token' | 'keep_alive_ms' | 'buffer_bytes_max' | 'slow_ms_max' | 'step_ms_max'
  >
  door: Door
  scheduler: Scheduler
  loop: StepLoop
  journal: Journal
  metrics: Metrics
  status: () => NodeStatus
  state: { draining: boolean; engine_failed: boolean; url: string }
  answers: Set<HttpBindings['outgoing']> // begun and not yet taken by their readers
  log: Logger
}

export function nodeApp(options: ServerOptions): Hono<{ Bindings: HttpBindings }> {
  const { config, state, log } = options
  const app = new Hono<{ Bindings: HttpBindings }>()
  const turn = turns()

  app.onError((error, c) => {
    if (error instanceof Refusal) return c.json(error.body, error.status, error.headers)
    if (error instanceof HTTPException) return error.getResponse()
    log.error({ err: error }, 'a request failed')
    return c.json(new Refusal('engine_failed', 'The node could not handle this request.').body, 503)
  })

  app.get('/status', (c) => c.json(options.status()))
  app.get('/healthz', (c) => {
    const health = healthOf(options)
    return c.json(health, health.ok ? 200 : 503)
  })

  app.get('/metrics', guardMetrics(config.metrics_token), async (c) =>
    c.body(await options.metrics.text(), 200, { 'content-type': options.metrics.content_type }),
  )

  app.post('/generate', bodyLimit({ maxSize: BODY_BYTES_MAX, onError: refuseSize }), async (c) => {
    refuseUnlessServing(state)
    const ticket_text = c.req.header(TICKET_HEADER)
    const ticket = await acceptTicket(ticket_text, config.model_id, config.node_secret)
    const body = await c.req.text()
    await turn()
    const request = parseRequest(body)
    // From here to the start nothing is awaited: one ticket, one start; what has room now has it then.
    refuseUnlessServing(state)
    refuseUnlessRoom(options, request)
    const accepted = acceptRequest(request, ticket, ticket_text!, options.door)
    takeIn(options, accepted, ticket, ticket_text!)
    start(options, accepted, ticket, { outgoing: c.env.outgoing, streams: request.stream })
    return RESPONSE_ALREADY_SENT
  })
  return app
}

/** One turn of the event loop for each: of many prompts that come at once, none keeps what runs waiting for all of them. */
function turns(): () => Promise<unknown> {
  let last: Promise<unknown> = Promise.resolve()
  return () => {
    last = last.then(() => new Promise(setImmediate))
    return last
  }
}

function refuseSize(): never {
  throw new Refusal('bad_request', `The body has more than ${BODY_BYTES_MAX} bytes.`)
}

function refuseUnlessServing(state: ServerOptions['state']): void {
  if (state.engine_failed) throw new Refusal('engine_failed', 'The engine of this node has failed.')
  if (state.draining) throw new Refusal('draining', 'This node is shutting down.')
}

// Before its prompt is read: what is refused should cost little.
function refuseUnlessRoom({ scheduler, loop }: ServerOptions, { prompts, n }: GenerateRequest): void {
  if (scheduler.hasRoomFor(prompts.length * n)) return
  throw new Refusal('overloaded', 'The queue is full.', { retry_after_s: loop.queue_s })
}

function takeIn({ journal }: ServerOptions, accepted: Accepted, ticket: Ticket, text: string): void {
  const { request_id, attempt, duration_ms_max } = ticket
  if (journal.wasUsed(request_id, attempt)) throw new Refusal('bad_ticket', 'The ticket was already used.')
  const { prompt_tokens } = accepted
  if (!journal.accept({ ticket: text, request_id, attempt, prompt_tokens, duration_ms_max })) {
    throw new Refusal('overloaded', 'The journal of this node is full.')
  }
}

function start(
  { config, loop, answers }: ServerOptions,
  { generation }: Accepted,
  ticket: Ticket,
  { outgoing, streams }: { outgoing: HttpBindings['outgoing']; streams: boolean },
): void {
  const deadline = setTimeout(() => loop.stop(generation, 'deadline'), Math.min(ticket.duration_ms_max, TIMER_MS_MAX))
  const leave = () => {
    clearTimeout(deadline)
    answers.delete(outgoing)
  }
  answers.add(outgoing)
  outgoing.on('close', leave)
  if (outgoing.destroyed) leave() // it left before anyone listened
  const client = new Client(outgoing, {
    content_type: generation.answer.content_type,
    streams,
    keep_alive_ms: config.keep_alive_ms,
    buffer_bytes_max: config.buffer_bytes_max,
    slow_ms_max: config.slow_ms_max,
    on_gone: () => loop.stop(generation, 'client_gone'),
    on_slow: (is_slow) => loop.setPaused(generation, is_slow),
  })
  loop.start(generation, client)
}

// Honest: a step that hangs makes the node unhealthy, however well its HTTP answers.
function healthOf({ config, loop, state }: ServerOptions) {
  const step_in_flight_ms = loop.step_in_flight_ms
  const is_stuck = step_in_flight_ms !== null && step_in_flight_ms > config.step_ms_max
  return {
    ok: !state.engine_failed && !state.draining && !is_stuck,
    draining: state.draining,
    engine_failed: state.engine_failed,
    step_in_flight_ms,
    last_step_age_ms: loop.last_step_age_ms,
  }
}
