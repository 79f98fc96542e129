// An engine behind an address, as vLLM streams it, that says words; and every way to misbehave that was seen elsewhere or can be thought
// of. It knows what it computed for each request, which is what a bill is held against.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type Behaviour, behaviours } from './upstream-behaviours.ts'

/** What it computed for one request. */
export interface Computed {
  prompt_tokens: number
  completion_tokens: number
  cached_tokens: number
}

export interface UpstreamBody {
  model: string
  prompt?: string | number[]
  messages?: { role: string; content: string }[]
  max_tokens: number
  stream: boolean
  stream_options?: { include_usage?: boolean; continuous_usage_stats?: boolean }
  stop?: string[]
  [name: string]: unknown
}

export interface Seen {
  path: string
  body: UpstreamBody
  headers: IncomingMessage['headers']
}

export const CONTEXT_TOKENS = 4096
/** Words of the prompt are tokens; so many of them are cached. */
export const CACHED_TOKENS = 1

export class FakeUpstream {
  /** What was asked, in order. */
  readonly seen: Seen[] = []
  /** By x-request-id, of all that was asked under it. */
  readonly computed = new Map<string, Computed>()
  /** How the next request is answered. */
  behave: (seen: Seen) => Behaviour = () => behaviours.plain!
  /** What its page for Prometheus says; null where it has none. */
  metrics: string | null = null
  models: { status: number; body: unknown } = {
    status: 200,
    body: { object: 'list', data: [{ id: 'test-model', max_model_len: CONTEXT_TOKENS }] },
  }
  readonly #server: Server
  readonly #open = new Set<ServerResponse>()

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port = 0): Promise<FakeUpstream> {
    const server = createServer({ maxHeaderSize: 1 << 20 })
    const upstream = new FakeUpstream(server)
    server.on('request', (request, response) => void upstream.#answer(request, response))
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    onTestFinished(() => upstream.stop())
    return upstream
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/v1`
  }

  /** Answers that nobody has ended or left yet. */
  get open(): number {
    return this.#open.size
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {})
    const text = (await Array.fromAsync(request).catch(() => [])).join('')
    if (request.url === '/v1/models') return json(response, this.models.status, this.models.body)
    if (request.url === '/metrics') {
      response.writeHead(this.metrics === null ? 404 : 200, { 'content-type': 'text/plain' })
      return void response.end(this.metrics ?? 'none')
    }
    if (text === '') return json(response, 404, { detail: 'Not Found' })
    this.#open.add(response)
    response.on('close', () => this.#open.delete(response))
    const seen = { path: request.url!, body: JSON.parse(text) as UpstreamBody, headers: request.headers }
    this.seen.push(seen)
    await this.behave(seen).answer(this.#talk(seen, response))
  }

  #talk(seen: Seen, response: ServerResponse): Talk {
    const id = String(seen.headers['x-request-id'])
    const none = { prompt_tokens: promptTokens(seen.body), completion_tokens: 0, cached_tokens: CACHED_TOKENS }
    const all = this.computed.get(id) ?? none
    this.computed.set(id, all)
    return new Talk(seen, response, all)
  }
}

/** One answer in the making. */
export class Talk {
  readonly seen: Seen
  readonly response: ServerResponse
  readonly #all: Computed // for the same request, whose choices are answers of their own
  #completion_tokens = 0

  constructor(seen: Seen, response: ServerResponse, all: Computed) {
    this.seen = seen
    this.response = response
    this.#all = all
  }

  get is_gone(): boolean {
    return this.response.destroyed || this.response.writableEnded
  }

  /** The words of the answer: as many as the prompt asks for, or as it may have. */
  get words(): string[] {
    return wordsOf(this.seen.body).slice(0, this.seen.body.max_tokens)
  }

  get finish(): string {
    return wordsOf(this.seen.body).length >= this.seen.body.max_tokens ? 'length' : 'stop'
  }

  /** So many tokens more were computed. */
  compute(tokens = 1): void {
    this.#completion_tokens += tokens
    this.#all.completion_tokens += tokens
  }

  head(headers: Record<string, string> = { 'content-type': 'text/event-stream; charset=utf-8' }, status = 200): void {
    this.response.writeHead(status, headers)
    this.response.flushHeaders()
  }

  /** The count of this answer so far. */
  get usage() {
    const prompt_tokens = promptTokens(this.seen.body)
    const completion_tokens = this.#completion_tokens
    return {
      prompt_tokens,
      completion_tokens,
      total_tokens: prompt_tokens + completion_tokens,
      prompt_tokens_details: { cached_tokens: CACHED_TOKENS },
    }
  }

  /** A chunk as this endpoint has it. */
  chunk(text: string | null, more: object = {}, finish_reason: string | null = null): Record<string, unknown> {
    const is_chat = this.seen.path.endsWith('/chat/completions')
    const own = is_chat ? { delta: text === null ? {} : { content: text } } : { text: text ?? '' }
    return {
      id: 'cmpl-upstream',
      object: is_chat ? 'chat.completion.chunk' : 'text_completion',
      model: this.seen.body.model,
      choices: [{ index: 0, ...own, finish_reason }],
      ...more,
    }
  }

  /** Whether whoever reads it takes more; waits where their buffer is full. */
  async write(bytes: string | Uint8Array): Promise<boolean> {
    if (this.is_gone) return false
    if (!this.response.write(bytes)) await Promise.race([once(this.response, 'drain'), once(this.response, 'close')])
    await new Promise(setImmediate)
    return !this.is_gone
  }

  event(data: unknown): Promise<boolean> {
    return this.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)
  }
}

/** "say 12": twelve words, each a token; by themselves they end in a stop. */
export function wordsOf({ prompt, messages }: Pick<UpstreamBody, 'prompt' | 'messages'>): string[] {
  const said = messages?.at(-1)?.content ?? String(prompt)
  const count = Number(/say (\d+)/.exec(said)?.[1] ?? 5)
  return Array.from({ length: count }, (_, i) => (i % 7 === 3 ? ` 😀${i}` : ` w${i}`))
}

/** Words, and the beginning of the sequence. */
export function promptTokens({ prompt, messages }: Pick<UpstreamBody, 'prompt' | 'messages'>): number {
  if (Array.isArray(prompt)) return prompt.length
  const text = messages?.map(({ content }) => content).join(' ') ?? prompt ?? ''
  return 1 + text.split(/\s+/).filter(Boolean).length
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

function once(response: ServerResponse, name: 'drain' | 'close'): Promise<void> {
  return new Promise((resolve) => response.once(name, () => resolve()))
}
