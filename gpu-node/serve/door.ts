// The door: a ticket and a body become a generation, or a refusal with its code. What comes in is sure to fit: exact
// token counts are checked against what the ticket paid for, the context, and the blocks.

import * as z from 'zod'
import {
  type GenerateRequest,
  LOGIT_BIAS_MAX,
  LOGPROBS_MAX,
  STOP_TOKEN_IDS_MAX,
} from '../../contract/internal/generation.ts'
import { type Ticket, verifyTicket } from '../../contract/internal/ticket.ts'
import { Generation } from '../answer/generation.ts'
import type { Model } from '../run/native/load/model-folder.ts'
import { biasOf, samplingOfChoice } from '../run/native/sampling.ts'
import { Sequence } from '../run/native/sequence.ts'
import { Detokenizer } from '../run/native/tokenizer/detokenizer.ts'
import { encodePrompt } from '../run/native/tokenizer/encode-prompt.ts'
import { Refusal } from './refusal.ts'

const token_id = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
const part = z.union([
  z.strictObject({ special: z.string() }),
  z.strictObject({ text: z.string() }),
  z.strictObject({ tokens: z.array(token_id) }),
])

const requestSchema = z.strictObject({
  request_id: z.string().min(1).max(100),
  response_id: z.string().min(1).max(200),
  created_unix_s: z.int().nonnegative(),
  model: z.string().min(1).max(200),
  shape: z.enum(['completion', 'chat']),
  stream: z.boolean(),
  include_usage: z.boolean(),
  prompts: z.array(z.array(part)).min(1).max(2048),
  n: z.int().min(1).max(128),
  max_tokens: z.int().min(1),
  max_tokens_is_default: z.boolean(),
  stop: z.array(z.string().min(1).max(1000)).max(16),
  stop_token_ids: z.array(token_id).max(STOP_TOKEN_IDS_MAX),
  include_stop: z.boolean(),
  min_tokens: z.int().min(0),
  ignore_eos: z.boolean(),
  logit_bias: z.array(z.tuple([token_id, z.number().min(-100).max(100)])).max(LOGIT_BIAS_MAX),
  logprobs: z.int().min(0).max(LOGPROBS_MAX).nullable(),
  echo: z.boolean(),
  sampling: z.strictObject({
    temperature: z.number().min(0).max(100),
    top_p: z.number().gt(0).max(1),
    top_k: z
      .int()
      .min(0)
      .max(2 ** 31 - 1),
    min_p: z.number().min(0).max(1),
    repetition_penalty: z.number().gt(0).max(100),
    frequency_penalty: z.number().min(-100).max(100),
    presence_penalty: z.number().min(-100).max(100),
    seed: z.string().regex(/^\d{1,20}$/),
  }),
  priority: z.enum(['interactive', 'batch']),
})

/** The ticket in a header's text, for this node's model; refuses `bad_ticket`. */
export async function acceptTicket(text: string | undefined, model_id: string, node_secret: string): Promise<Ticket> {
  const ticket = text === undefined ? null : await verifyTicket(text, node_secret)
  if (!ticket) throw new Refusal('bad_ticket', 'The ticket is missing or was not signed for this node.')
  if (ticket.model !== model_id) throw new Refusal('bad_ticket', `The ticket is for ${ticket.model}, not ${model_id}.`)
  return ticket
}

/** The request in a body's text; refuses `bad_request` naming what is wrong. */
export function parseRequest(text: string): GenerateRequest {
  const parsed = requestSchema.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  const { path, message } = parsed.error.issues[0]!
  throw new Refusal('bad_request', message, { param: path.join('.') || null })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new Refusal('bad_request', 'The body is not JSON.')
  }
}

export interface Door {
  model: Pick<Model, 'shape' | 'tokenizer' | 'eos_ids'>
  tokens_max: number // of one sequence: what the context and all blocks hold
}

export interface Accepted {
  generation: Generation
  prompt_tokens: number
}

/** A generation that is ready to start. Refuses what does not fit the ticket or the context. */
export function acceptRequest(request: GenerateRequest, ticket: Ticket, ticket_text: string, door: Door): Accepted {
  if (request.request_id !== ticket.request_id) throw new Refusal('bad_ticket', 'The ticket is for another request.')
  const { shape, tokenizer, eos_ids } = door.model
  refuseHopeless(request, tokenizer, door.tokens_max)
  refuseStrangeIds('stop_token_ids', request.stop_token_ids, shape.vocab_size)
  refuseStrangeIds(
    'logit_bias',
    request.logit_bias.map(([id]) => id),
    shape.vocab_size,
  )
  const prompts = request.prompts.map((parts) => encodePrompt(parts, tokenizer, shape.vocab_size))
  const max_tokens = outputTokensMax(request, prompts, door.tokens_max)
  const prompt_tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0)
  checkCeiling('prompt', prompt_tokens, ticket.prompt_tokens_max)
  checkCeiling('output', max_tokens * request.n * prompts.length, ticket.output_tokens_max)
  const stop_ids = new Set([...(request.ignore_eos ? [] : eos_ids), ...request.stop_token_ids])
  const own = {
    output_tokens_max: max_tokens,
    output_tokens_min: request.min_tokens,
    stop_ids,
    priority: request.priority,
    cache_salt: ticket.cache_salt,
  }
  const sampling = (choice: number) => ({
    ...samplingOfChoice(request.sampling, choice),
    bias: biasOf(request.logit_bias),
    logprobs: request.logprobs,
  })
  const choices = prompts.flatMap((prompt, p) =>
    fork(
      request.n,
      (copy, leader) => new Sequence({ prompt, ...own, leader, sampling: sampling(p * request.n + copy) }),
    ).map((sequence) => ({
      sequence,
      detokenizer: Detokenizer.after(tokenizer, prompt),
      echo: request.echo ? Detokenizer.textOf(tokenizer, prompt) : '',
    })),
  )
  const generation = new Generation({ ticket: ticket_text, attempt: ticket.attempt, request, choices })
  return { generation, prompt_tokens }
}

/** The choices over one prompt: the first computes it for all. */
function fork(n: number, make: (copy: number, leader?: Sequence) => Sequence): Sequence[] {
  const leader = make(0)
  return [leader, ...Array.from({ length: n - 1 }, (_, i) => make(i + 1, leader))]
}

// An id that the network has no row for would be written beside the scores of this sequence's row.
function refuseStrangeIds(param: string, ids: readonly number[], vocab_size: number): void {
  const strange = ids.find((id) => id >= vocab_size)
  if (strange === undefined) return
  throw new Refusal('invalid_token_id', `Token id ${strange} is outside the vocabulary of ${vocab_size}.`, { param })
}

// A text that cannot fit, however its tokens fall, is not worth the milliseconds of finding them.
function refuseHopeless(request: GenerateRequest, tokenizer: Model['tokenizer'], tokens_max: number): void {
  for (const parts of request.prompts) {
    const tokens_min = parts.reduce((sum, part) => sum + ('text' in part ? tokenizer.tokensMin(part.text) : 0), 0)
    if (tokens_min > tokens_max) throw contextExceeded(tokens_max, `at least ${tokens_min}`, request.max_tokens)
  }
}

function outputTokensMax(request: GenerateRequest, prompts: number[][], tokens_max: number): number {
  const longest = Math.max(...prompts.map((prompt) => prompt.length))
  if (prompts.some((prompt) => prompt.length === 0))
    throw new Refusal('bad_request', 'A prompt has no tokens.', { param: 'prompts' })
  const room = tokens_max - longest
  if (request.max_tokens_is_default && room >= 1) return Math.min(request.max_tokens, room)
  if (request.max_tokens <= room) return request.max_tokens
  throw contextExceeded(tokens_max, String(longest), request.max_tokens)
}

function contextExceeded(tokens_max: number, prompt_tokens: string, max_tokens: number): Refusal {
  return new Refusal(
    'context_length_exceeded',
    `This model's maximum context length is ${tokens_max} tokens. However, the prompt has ${prompt_tokens} tokens and ` +
      `the completion may have ${max_tokens}.`,
    { param: 'prompt' },
  )
}

function checkCeiling(what: string, tokens: number, tokens_max: number): void {
  if (tokens <= tokens_max) return
  throw new Refusal('ceiling_exceeded', `The request has ${tokens} ${what} tokens; its ticket is for ${tokens_max}.`)
}
