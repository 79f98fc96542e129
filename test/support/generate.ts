// What a gateway sends to a node, for tests of the node alone.

import { hash } from 'node:crypto'
import { streamRequest } from '../../bench/requests.ts'
import type { Signer } from '../../contract/ed25519.ts'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import { signTicket, type Ticket } from '../../contract/internal/ticket.ts'
import { ticketSigner } from './keys.ts'

export const NODE_ID = 'node-under-test'

export function generateRequest(changes: Partial<GenerateRequest> = {}): GenerateRequest {
  return {
    ...streamRequest(),
    model: 'test-model',
    stream: false,
    prompts: [[{ special: '<s>' }, { text: 'Once upon a time' }]],
    max_tokens: 20,
    ...changes,
  }
}

/** Of the body that the request is as JSON, unless changed. */
export function ticketFor(request: GenerateRequest, changes: Partial<Ticket> = {}): Ticket {
  return {
    request_id: request.request_id,
    attempt: 1,
    node_id: NODE_ID,
    body_sha256: bodySha256(JSON.stringify(request)),
    expires_unix_ms: Date.now() + 60_000,
    cache_salt: 'salt',
    model: 'test-model',
    sealed: '',
    prompt_tokens_max: 100_000,
    request_output_tokens_max: 100_000,
    duration_ms_max: 60_000,
    ...changes,
  }
}

export function bodySha256(body: string): string {
  return hash('sha256', body, 'base64url')
}

export interface GenerateOptions {
  ticket?: Partial<Ticket>
  signer?: Signer
  signal?: AbortSignal
}

/** POST /generate with a ticket that pays for it. */
export async function generate(
  node_url: string,
  changes: Partial<GenerateRequest> = {},
  { ticket, signer = ticketSigner, signal }: GenerateOptions = {},
): Promise<Response> {
  const request = generateRequest(changes)
  return fetch(`${node_url}/generate`, {
    method: 'POST',
    headers: { 'x-ticket': await signTicket(ticketFor(request, ticket), signer) },
    body: JSON.stringify(request),
    ...(signal ? { signal } : {}),
  })
}

interface Chunk {
  choices: { index: number; text?: string; delta?: { content?: string; role?: string }; finish_reason: string | null }[]
  usage?: { completion_tokens: number; prompt_tokens: number } | null
  error?: { code: string }
}

/** The data of a stream's frames, comments left out; the last is the text '[DONE]' where the stream was whole. */
export function framesOf(stream: string): (Chunk | '[DONE]')[] {
  return stream
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '))
    .map((frame) => frame.slice('data: '.length))
    .map((data) => (data === '[DONE]' ? data : (JSON.parse(data) as Chunk)))
}

/** The text of one choice of a stream. */
export function textOf(stream: string, choice = 0): string {
  return framesOf(stream)
    .flatMap((frame) => (frame !== '[DONE]' && 'choices' in frame ? frame.choices : []))
    .filter(({ index }) => index === choice)
    .map(({ text, delta }) => text ?? delta?.content ?? '')
    .join('')
}
