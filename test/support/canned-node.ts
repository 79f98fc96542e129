// A node without a model or an engine: speaks the node's side of the contract over HTTP, so that the gateway can be tested alone.
// It checks tickets, streams canned chunks, counts, and reports to /internal/sync until each record is acknowledged.

import { hash, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Signer } from '../../contract/ed25519.ts'
import {
  ACCEPTED_HEADER,
  type GenerateRequest,
  type NodeError,
  type NodeErrorCode,
  TICKET_HEADER,
} from '../../contract/internal/generation.ts'
import { QUESTION_HEADER, type Question, verifyQuestion } from '../../contract/internal/question.ts'
import {
  NODE_KEY_HEADER,
  NODE_SIGNATURE_HEADER,
  type NodeStatus,
  type SettleOutcome,
  type SyncRequest,
  type SyncResponse,
  type UsageRecord,
} from '../../contract/internal/sync.ts'
import { type Ticket, verifyTicket } from '../../contract/internal/ticket.ts'
import { usageOf } from '../../contract/public/openai.ts'
import { messageShape } from '../../gpu-node/answer/message.ts'
import { headOf } from '../../gpu-node/answer/openai-shape.ts'
import { responseShape } from '../../gpu-node/answer/response.ts'
import { rerankShape, scoreShape } from '../../gpu-node/answer/score.ts'
import { issuer, newSigner } from './keys.ts'

export interface CannedNodeOptions {
  gateway_url: string
  /** Makes the node known to the ledger, before it first reports. */
  register: (node: Registration) => Promise<unknown>
  model?: string
  node_id?: string
  /** Tokens a choice; what the bill then says. */
  completion_tokens?: number
  /** What a choice of a whole chat says. */
  says?: (index: number) => string
  /** Pause after each chunk of a stream, and before a whole answer. */
  chunk_ms?: number
  /** Break the connection after the work and before the head of the answer; or only once the work was settled. */
  loses_connection?: boolean | 'once settled'
  /** What it waits for before it answers. */
  before_answer?: (() => Promise<unknown>) | undefined
  /** What it waits for after each chunk of a stream, at most until its client has left. */
  after_chunk?: (() => Promise<unknown>) | undefined
  /** What it waits for before it reports a generation. */
  before_report?: (request_id: string) => Promise<unknown>
  /** Refuse every generation with this. */
  refuse?: NodeErrorCode
  /** How it answers where it is asked whether a constraint can be held. */
  cannot_hold?: NodeError['error']
  /** What its refusals say of when to come back. */
  retry_after?: string
  /** False: reports nothing by itself. */
  sync?: boolean
}

export interface Registration {
  id: string
  url: string
  model: string
  key: string
}

export const CANNED_PROMPT_TOKENS = 5
const ENDED = { reason: 'stop', stop: null, has_called: false } as const
const CONTEXT_TOKENS = 1024
const AGAIN_MS = 5

export class CannedNode {
  readonly url: string
  readonly options: CannedNodeOptions
  /** Every accepted generation, in order. */
  readonly accepted: { request: GenerateRequest; ticket: Ticket; signed: string }[] = []
  readonly records: UsageRecord[] = []
  /** What it was asked beside generations, in order. */
  readonly questions: Question[] = []
  /** What the gateway made of each record, by request id. */
  readonly outcomes = new Map<string, SettleOutcome>()
  aborted_count = 0
  /** The requests that the gateway no longer wants to run. */
  readonly revoked = new Set<string>()
  readonly key: Signer
  readonly boot = { id: randomUUID(), folder_id: randomUUID(), number: 1 }
  sequence = 0
  readonly #server: Server
  readonly #unsettled: UsageRecord[] = []
  readonly #heartbeat: NodeJS.Timeout | undefined
  readonly #running = new Set<string>()
  #syncing: Promise<unknown> | null = null
  #sending: Promise<unknown> = Promise.resolve()

  constructor(server: Server, key: Signer, options: CannedNodeOptions) {
    this.#server = server
    this.key = key
    this.options = options
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (req, res) => void this.#answer(req, res))
    if (options.sync !== false) this.#heartbeat = setInterval(() => this.#scheduleSync(), 1000).unref()
  }

  status(): NodeStatus {
    return {
      node_id: this.options.node_id ?? 'canned',
      url: this.url,
      model: this.options.model ?? 'ziya-coding-mini',
      state: 'ready',
      context_tokens: CONTEXT_TOKENS,
      running: 0,
      waiting: 0,
      blocks_total: 64,
      blocks_free: 64,
    }
  }

  /** Reports what is not settled yet, and answers with the status; 0 where the gateway was not reached. */
  async sync(): Promise<number> {
    const records = this.#unsettled.splice(0, 500)
    const sent = await this.report(records).catch(() => null)
    const { settled = [], stop = [] }: Partial<SyncResponse> = sent?.ok ? ((await sent.json()) as SyncResponse) : {}
    for (const id of stop) this.revoked.add(id)
    records.forEach((record, i) => {
      const outcome = settled[i]?.outcome ?? 'retry'
      if (outcome === 'retry') this.#unsettled.push(record)
      else this.outcomes.set(record.request_id, outcome)
    })
    return sent?.status ?? 0
  }

  /** One after the other, as a node does: a report that overtakes another is refused. */
  report(records: UsageRecord[], changes: Partial<SyncRequest> = {}): Promise<Response> {
    const sent = this.#sending.then(() => this.send(JSON.stringify({ ...this.nextReport(), records, ...changes })))
    this.#sending = sent.catch(() => {})
    return sent
  }

  nextReport(): SyncRequest {
    const head = { node: this.status(), boot: this.boot, sequence: ++this.sequence, sent_unix_ms: Date.now() }
    return { ...head, running_ids: [...this.#running], records: [] }
  }

  async send(body: string, key = this.key, path = '/internal/sync'): Promise<Response> {
    const headers = { [NODE_KEY_HEADER]: key.x, [NODE_SIGNATURE_HEADER]: await key.sign('report', body) }
    return fetch(this.options.gateway_url + path, { method: 'POST', body, headers })
  }

  /** Takes back what a test asked of its answers. */
  calm(): void {
    delete this.options.refuse
    delete this.options.chunk_ms
    delete this.options.before_answer
    delete this.options.after_chunk
    this.options.completion_tokens = 3
  }

  async stop(): Promise<void> {
    clearInterval(this.#heartbeat)
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
    await this.#syncing
  }

  // One report at a time, as a node does: what finishes meanwhile goes with the next.
  #scheduleSync(): void {
    this.#syncing ??= this.sync().finally(() => {
      this.#syncing = null
      if (this.#unsettled.length > 0) setTimeout(() => this.#scheduleSync(), AGAIN_MS)
    })
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const body = await textOf(req).catch(() => null)
    if (body === null) return // the gateway left: its client had
    if (req.url === '/question') return this.#tell(res, body, String(req.headers[QUESTION_HEADER] ?? ''))
    const signed = String(req.headers[TICKET_HEADER] ?? '')
    const ticket = await verifyTicket(signed, issuer.keys)
    const is_for_us =
      ticket?.node_id === this.status().node_id && ticket.body_sha256 === hash('sha256', body, 'base64url')
    const refused = is_for_us ? this.options.refuse : 'bad_ticket'
    if (!ticket || refused) return refuse(res, refused ?? 'bad_ticket', this.options.retry_after)
    const request = JSON.parse(body) as GenerateRequest
    this.accepted.push({ request, ticket, signed })
    const tokens = Math.min(this.options.completion_tokens ?? 3, request.max_tokens)
    this.#running.add(request.request_id)
    const written = await this.#write(res, request, tokens).finally(() => this.#running.delete(request.request_id))
    const gone = written < tokens * choicesOf(request)
    const revoked = gone && this.revoked.has(request.request_id)
    if (gone) this.aborted_count += 1
    const outcome = revoked ? 'revoked' : gone ? 'client_gone' : 'stop'
    await this.options.before_report?.(request.request_id)
    this.#unsettled.push(record(signed, ticket, { written, outcome }))
    this.records.push(this.#unsettled.at(-1)!)
    if (this.options.sync !== false) this.#scheduleSync()
    while (!res.writableEnded && !res.destroyed && this.options.loses_connection === 'once settled') {
      if (this.outcomes.has(request.request_id)) res.destroy()
      await sleep(5)
    }
  }

  /** Every prompt has as many tokens as its answers say. */
  async #tell(res: ServerResponse, body: string, signature: string): Promise<void> {
    const { node_id } = this.status()
    const is_for_us = await verifyQuestion(signature, { node_id, body, now_ms: Date.now() }, issuer.keys)
    const refused = is_for_us ? this.options.refuse : 'bad_ticket'
    if (refused) return refuse(res, refused, this.options.retry_after)
    const question = JSON.parse(body) as Question
    this.questions.push(question)
    const tokens = Array.from({ length: CANNED_PROMPT_TOKENS }, (_, id) => id)
    const counted = {
      count: tokens.length,
      ids: { tokens, pieces: tokens.map((id) => `▁${id}`) },
    }
    const count = 'prompts' in question && {
      prompts: question.prompts.map(() => counted),
      sequence_tokens_max: CONTEXT_TOKENS,
      queue_s: 2,
      refused: question.constraint && this.options.cannot_hold,
    }
    res.writeHead(200, { 'content-type': 'application/json' })
    res.end(JSON.stringify(count || { text: 'decoded' }))
  }

  /** How many tokens it says it wrote. */
  async #write(res: ServerResponse, request: GenerateRequest, tokens: number): Promise<number> {
    await this.options.before_answer?.()
    if (!this.options.loses_connection)
      return request.stream ? this.#stream(res, request, tokens) : this.#whole(res, request, tokens)
    if (this.options.loses_connection !== 'once settled') res.destroy()
    return tokens * choicesOf(request)
  }

  async #whole(res: ServerResponse, request: GenerateRequest, tokens: number): Promise<number> {
    if (this.options.chunk_ms) await sleep(this.options.chunk_ms)
    if (res.destroyed) return 0
    res.writeHead(200, { [ACCEPTED_HEADER]: '1', 'content-type': 'application/json' })
    res.end(JSON.stringify(wholeAnswer(request, tokens, this.options.says)))
    return tokens * choicesOf(request)
  }

  /** Waits, and writes comments meanwhile, as a node does: by them a gateway learns that its client has left. */
  async #keptAlive(res: ServerResponse, wait: CannedNodeOptions['after_chunk']): Promise<void> {
    if (!wait || res.destroyed) return
    const left = new Promise((resolve) => res.once('close', resolve))
    const comments = setInterval(() => res.write(': keep-alive\n\n'), 20)
    await Promise.race([wait(), left]).finally(() => clearInterval(comments))
  }

  async #stream(res: ServerResponse, request: GenerateRequest, tokens: number): Promise<number> {
    res.writeHead(200, { [ACCEPTED_HEADER]: '1', 'content-type': 'text/event-stream; charset=utf-8' })
    const choices = Array.from({ length: choicesOf(request) }, (_, index) => index)
    const shape = eventShape(request)
    for (const data of shape?.opening(0) ?? []) res.write(shape!.frame(data))
    for (let token = 0; token < tokens; token += 1) {
      if (res.destroyed) return token * choices.length
      if (this.revoked.has(request.request_id)) {
        res.end(
          event({ error: { message: 'revoked', type: 'invalid_request_error', param: null, code: 'request_revoked' } }),
        )
        return token * choices.length
      }
      if (shape) res.write(shape.delta(0, { text: ' token', logprobs: null }).map(shape.frame).join(''))
      else res.write(choices.map((index) => event(chunk(request, index, ' token'))).join(''))
      if (this.options.chunk_ms) await sleep(this.options.chunk_ms)
      await this.#keptAlive(res, this.options.after_chunk)
    }
    if (shape) {
      const ending = [...shape.finish(0, ENDED), ...shape.end(usageFor(tokens))]
      res.end(ending.map(shape.frame).join('') + shape.last_frame)
      return tokens
    }
    const last = choices.map((index) => event(chunk(request, index, '', 'stop'))).join('')
    const usage = { ...chunk(request, 0, ''), choices: [], usage: usageFor(tokens * choices.length) }
    res.end(`${last}${request.include_usage ? event(usage) : ''}data: [DONE]\n\n`)
    return tokens * choices.length
  }
}

export async function startCannedNode(options: CannedNodeOptions): Promise<CannedNode> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const node = new CannedNode(server, await newSigner(), options)
  const { node_id: id, url, model } = node.status()
  await options.register({ id, url, model, key: node.key.x })
  if (options.sync !== false) await node.sync()
  return node
}

function record(
  signed: string,
  ticket: Ticket,
  { written, outcome }: { written: number; outcome: UsageRecord['outcome'] },
): UsageRecord {
  return {
    ticket: signed,
    request_id: ticket.request_id,
    attempt: ticket.attempt,
    prompt_tokens: CANNED_PROMPT_TOKENS,
    cached_tokens: 0,
    completion_tokens: written,
    delivered_tokens: written,
    outcome,
    started_unix_ms: Date.now(),
    first_token_ms: 1,
    duration_ms: 2,
  }
}

function choicesOf(request: GenerateRequest): number {
  return request.n * request.prompts.length
}

/** The shapes whose streams are named events. */
function eventShape(request: GenerateRequest) {
  if (request.shape === 'response') return responseShape(request)
  return request.shape === 'message' ? messageShape(request, () => usageFor(0)) : null
}

function wholeAnswer(request: GenerateRequest, tokens: number, says?: CannedNodeOptions['says']) {
  const text = ' token'.repeat(tokens)
  const shape = eventShape(request)
  if (shape) return shape.whole([{ text, logprobs: null, calls: [], finish: ENDED }], usageFor(tokens))
  if (request.shape === 'score' || request.shape === 'rerank') return valuesOf(request)
  const choices = Array.from({ length: choicesOf(request) }, (_, index) =>
    request.shape === 'chat'
      ? {
          index,
          message: { role: 'assistant', content: says?.(index) ?? text, refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        }
      : { index, text, logprobs: null, finish_reason: 'stop' },
  )
  const object = request.shape === 'chat' ? 'chat.completion' : 'text_completion'
  return { ...frame(request, object), choices, usage: usageFor(tokens * choices.length) }
}

/** The value of each answer is its place. */
function valuesOf(request: GenerateRequest) {
  const choices = Array.from({ length: choicesOf(request) }, (_, index) => {
    const value = { text: '', bytes: null, logprob: index, top: [], offset: 0 }
    return { text: '', logprobs: [value], calls: [], finish: ENDED }
  })
  const shape = request.shape === 'score' ? scoreShape : rerankShape
  return shape(request, () => usageFor(0), {}).whole(choices, usageFor(0))
}

function chunk(request: GenerateRequest, index: number, content: string, finish_reason: string | null = null) {
  const choice =
    request.shape === 'chat'
      ? { index, delta: { content }, logprobs: null, finish_reason }
      : { index, text: content, logprobs: null, finish_reason }
  const object = request.shape === 'chat' ? 'chat.completion.chunk' : 'text_completion'
  return { ...frame(request, object), choices: [choice], ...(request.include_usage && { usage: null }) }
}

function frame(request: GenerateRequest, object: string) {
  return { ...headOf(request, {}), object }
}

function usageFor(completion: number) {
  return usageOf({ prompt: CANNED_PROMPT_TOKENS, cached: 0, completion })
}

function event(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`
}

function refuse(res: ServerResponse, code: NodeErrorCode, retry_after?: string): void {
  res.writeHead(400, { 'content-type': 'application/json', ...(retry_after && { 'retry-after': retry_after }) })
  res.end(JSON.stringify({ error: { code, message: `the node refuses: ${code}`, param: null } }))
}

async function textOf(req: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of req) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}
