// The node on the wire: POST /generate and POST /question for the gateway, /healthz, /status and /metrics for who watches. Guards, then the
// door, then the streams write to the raw socket: what one step made for a stream is one write.

import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import type { Logger } from 'pino'
import { type Constraint, type NodeError, TICKET_HEADER } from '../../contract/internal/generation.ts'
import { type Count, type Decoding, QUESTION_HEADER, type Question } from '../../contract/internal/question.ts'
import type { NodeStatus } from '../../contract/internal/sync.ts'
import type { Journal } from '../meter/journal.ts'
import { Refusal } from '../refusal.ts'
import type { Runner } from '../run/runner.ts'
import { type Accepted, accept, endInTime, refuseUnlessServing } from './acceptance.ts'
import { acceptQuestion, acceptResumption, type DoorSettings } from './door.ts'
import { guardMetrics } from './guard-metrics.ts'
import type { Metrics } from './metrics.ts'
import { type ClientsOptions, type Outgoing, openClient } from './open-client.ts'
import { refusalAnswer } from './refusal-answer.ts'
import type { Resumables } from './resumables.ts'
import type { Streams } from './streams.ts'
import type { Turns } from './turns.ts'

const BODY_BYTES_MAX = 8 << 20
const RESUMPTION_BYTES_MAX = 1024

export interface ServerSettings {
  node_id: string
  model_id: string
  metrics_token?: string | undefined // whoever shows it may read /metrics from elsewhere than this machine
  step_ms_max: number // a step in flight for longer makes /healthz say so
}

export interface ServerOptions extends ClientsOptions {
  config: ServerSettings & ClientsOptions['config']
  runner: Pick<
    Runner,
    'hasRoomFor' | 'hold' | 'prepare' | 'load' | 'encode' | 'decode' | 'format' | 'sequence_tokens_max' | 'verifies'
  >
  streams: Streams
  journal: Journal
  ticket_keys: DoorSettings['ticket_keys']
  metrics: Metrics
  status: () => NodeStatus
  /** Why the gateway takes no report, where it does not. */
  report_failure: () => { reason: string; is_refused: boolean } | null
  state: { draining: boolean; engine_failed: boolean; url: string }
  resumables: Resumables
  log: Logger
  turns: Turns
}

export function nodeApp(options: ServerOptions): Hono<{ Bindings: HttpBindings }> {
  const { state, log, turns } = options
  const { metrics_token } = options.config
  const door = { ...options.config, ticket_keys: options.ticket_keys }
  const app = new Hono<{ Bindings: HttpBindings }>()

  app.onError((error, c) => {
    if (error instanceof HTTPException) return error.getResponse()
    if (!(error instanceof Refusal)) log.error({ err: error }, 'a request failed')
    const refusal =
      error instanceof Refusal ? error : new Refusal('engine_failed', 'The node could not handle this request.')
    const { body, status, headers } = refusalAnswer(refusal)
    return c.json(body, status, headers)
  })

  app.get('/status', (c) => c.json(options.status()))
  app.get('/healthz', (c) => {
    const health = healthOf(options)
    return c.json(health, health.ok ? 200 : 503)
  })

  app.get('/metrics', guardMetrics(metrics_token), async (c) =>
    c.body(await options.metrics.text(), 200, { 'content-type': options.metrics.content_type }),
  )

  app.post('/generate', bodyLimit({ maxSize: BODY_BYTES_MAX, onError: refuseSize }), async (c) => {
    const asked = {
      ticket_text: c.req.header(TICKET_HEADER),
      bytes: async () => new Uint8Array(await c.req.arrayBuffer()),
    }
    await accept(options, asked, (accepted) => start(options, accepted, c.env.outgoing))
    return RESPONSE_ALREADY_SENT
  })
  app.post('/resume', bodyLimit({ maxSize: RESUMPTION_BYTES_MAX, onError: refuseSize }), async (c) => {
    const asked = { signature: c.req.header(QUESTION_HEADER), body: await c.req.text() }
    options.resumables.resume(await acceptResumption(asked, door), c.env.outgoing)
    return RESPONSE_ALREADY_SENT
  })
  app.post('/question', bodyLimit({ maxSize: BODY_BYTES_MAX, onError: refuseSize }), async (c) => {
    const asked = { signature: c.req.header(QUESTION_HEADER), body: await c.req.text() }
    const question = await acceptQuestion(asked, door)
    await turns.take(QUESTIONS)
    refuseUnlessServing(state)
    return c.json('tokens' in question ? decoding(options, question.tokens) : await count(options, question))
  })
  return app
}

// They name no account: together they have the turns of one.
const QUESTIONS = 'questions'

function decoding({ runner }: ServerOptions, tokens: number[]): Decoding {
  return { text: runner.decode(tokens).text }
}

async function count(
  { runner }: ServerOptions,
  { prompts, with_ids, constraint, truncated }: Extract<Question, { prompts: unknown }>,
): Promise<Count> {
  const refused = constraint && (await refusalToHold(runner, constraint))
  const counted = runner.encode(await runner.format(prompts), truncated).map((tokens) => ({
    count: tokens.length,
    ids: with_ids ? { tokens, pieces: runner.decode(tokens).pieces } : undefined,
  }))
  return { prompts: counted, sequence_tokens_max: runner.sequence_tokens_max, queue_s: runner.load.queue_s, refused }
}

/** Undefined where it can be held; what keeps the node from finding out is thrown. */
async function refusalToHold(
  runner: ServerOptions['runner'],
  constraint: Constraint,
): Promise<NodeError['error'] | undefined> {
  try {
    await runner.hold(constraint, QUESTIONS)
    return undefined
  } catch (error) {
    if (!(error instanceof Refusal) || !['invalid_constraint', 'invalid_tools'].includes(error.code)) throw error
    return refusalAnswer(error).body.error
  }
}

function refuseSize(): never {
  throw new Refusal('bad_request', `The body has more than ${BODY_BYTES_MAX} bytes.`)
}

function start(options: ServerOptions, accepted: Accepted, outgoing: Outgoing): void {
  const { streams, resumables } = options
  const { generation, ticket, request } = accepted
  const deadline = endInTime(streams, generation, ticket)
  if (request.stream && ticket.resume_ms_max) {
    resumables.start(accepted, outgoing, () => clearTimeout(deadline))
    return
  }
  outgoing.on('close', () => clearTimeout(deadline))
  const client = openClient(options, outgoing, {
    content_type: generation.answer.content_type,
    streams: request.stream,
    on_gone: () => streams.stop(generation, 'client_gone'),
    on_slow: (is_slow) => generation.run.setPaused(is_slow),
  })
  if (outgoing.destroyed) clearTimeout(deadline) // it left before anyone listened
  streams.start(generation, client)
}

// Health is honest: a step that hangs, a disk that takes no journal, and a gateway that refuses its reports make the node unhealthy, however well its HTTP answers.
function healthOf({ config, runner, state, journal, report_failure }: ServerOptions) {
  const failure = report_failure()
  const { step_in_flight_ms, last_step_age_ms } = runner.load
  const is_stuck = step_in_flight_ms !== null && step_in_flight_ms > config.step_ms_max
  return {
    ok: !state.engine_failed && !state.draining && !is_stuck && !failure?.is_refused && journal.is_written,
    draining: state.draining,
    engine_failed: state.engine_failed,
    step_in_flight_ms,
    last_step_age_ms,
    journal: journal.health,
    report_failure: failure?.reason ?? null,
  }
}
