// The door: a ticket and a body become a generation that is ready to start, or a refusal with its code. What comes in is sure to
// fit: the runner refuses what the model cannot take, and its counts are checked against what the ticket paid for.

import { hash } from 'node:crypto'
import * as z from 'zod'
import type { PublicKey } from '../../contract/ed25519.ts'
import {
  CONSTRAINT_LENGTH_MAX,
  type GenerateRequest,
  LOGIT_BIAS_MAX,
  LOGPROBS_MAX,
  STOP_TOKEN_IDS_MAX,
  STOPS_MAX,
  TOOLS_MAX,
  VERIFIED_ATTEMPTS_MAX,
  VERIFIED_CANDIDATES_MAX,
  VERIFIED_CPU_S_MAX,
  VERIFIED_LANGUAGES,
  VERIFIED_TESTS_LENGTH_MAX,
} from '../../contract/internal/generation.ts'
import { type Question, type Resumption, verifyQuestion } from '../../contract/internal/question.ts'
import { type Ticket, verifyTicket } from '../../contract/internal/ticket.ts'
import type { ResponseAsked } from '../../contract/public/responses.ts'
import { Generation } from '../answer/generation.ts'
import { Refusal } from '../refusal.ts'
import type { HeldConstraint, Runner } from '../run/runner.ts'

const token_id = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
const turn = z.strictObject({ role: z.enum(['system', 'user', 'assistant']), text: z.string() })
const part = z.union([
  z.strictObject({ special: z.string() }),
  z.strictObject({ text: z.string() }),
  z.strictObject({ tokens: z.array(token_id) }),
  z.strictObject({ chat: z.array(turn).min(1), is_continued: z.boolean() }),
  z.strictObject({ infill: z.strictObject({ before: z.string(), after: z.string() }) }),
  z.strictObject({ judged: z.strictObject({ query: z.string(), answer: z.string() }) }),
])

const prompts = z.array(z.array(part)).min(1).max(2048)

const constraint = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('json') }),
  z.strictObject({ kind: z.literal('json_schema'), schema: z.unknown() }),
  z.strictObject({ kind: z.literal('regex'), regex: z.string().max(CONSTRAINT_LENGTH_MAX) }),
  z.strictObject({ kind: z.literal('grammar'), grammar: z.string().max(CONSTRAINT_LENGTH_MAX) }),
])

const tools = z.strictObject({
  kind: z.literal('tools'),
  tools: z.array(z.strictObject({ name: z.string().min(1).max(64), parameters: z.unknown() })).max(TOOLS_MAX),
  calls: z.enum(['allowed', 'required']),
  is_parallel: z.boolean(),
  text: constraint.exactOptional(),
})

const truncation = {
  truncate_prompt: z.union([z.int().min(1), z.literal('to_fit')]).optional(),
  max_tokens: z.int().min(0),
}

const verification = z.strictObject({
  language: z.enum(VERIFIED_LANGUAGES),
  tests: z.string().max(VERIFIED_TESTS_LENGTH_MAX),
  context: z.string().max(VERIFIED_TESTS_LENGTH_MAX).optional(),
  candidates: z.int().min(1).max(VERIFIED_CANDIDATES_MAX),
  attempts: z.int().min(1).max(VERIFIED_ATTEMPTS_MAX),
  cpu_s: z.int().min(1).max(VERIFIED_CPU_S_MAX),
  around: z.strictObject({ before: z.string(), after: z.string() }).nullable(),
  repair: z.array(part).min(1),
  repair_tokens_max: z.int().min(0),
  repair_answer_bytes_max: z.int().min(0),
})

const requestSchema = z.strictObject({
  request_id: z.string().min(1).max(100),
  ledger_id: z.guid().optional(),
  response_id: z.string().min(1).max(200),
  created_unix_s: z.int().nonnegative(),
  model: z.string().min(1).max(200),
  shape: z.enum(['completion', 'chat', 'message', 'response', 'score', 'rerank']),
  stream: z.boolean(),
  include_usage: z.boolean(),
  continuous_usage: z.boolean().optional(),
  prompts,
  ...truncation,
  n: z.int().min(1).max(128),
  max_tokens_is_default: z.boolean(),
  stop: z.array(z.string().min(1).max(1000)).max(STOPS_MAX),
  stop_token_ids: z.array(token_id).max(STOP_TOKEN_IDS_MAX),
  include_stop: z.boolean(),
  min_tokens: z.int().min(0),
  ignore_eos: z.boolean(),
  logit_bias: z.array(z.tuple([token_id, z.number().min(-100).max(100)])).max(LOGIT_BIAS_MAX),
  logprobs: z.int().min(0).max(LOGPROBS_MAX).nullable(),
  echo: z.boolean(),
  return_token_ids: z.boolean().optional(),
  ranked: z.strictObject({ top_n: z.int().min(1), texts: z.array(z.string()).max(128) }).optional(),
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
  service_tier: z.enum(['default', 'flex']).optional(),
  prediction: z.string().min(1).optional(),
  constraint: z.union([constraint, tools]).exactOptional(),
  verify: verification.optional(),
  whole_at_end: z.literal(true).optional(),
  asked: z.custom<ResponseAsked>((value) => typeof value === 'object' && value !== null).exactOptional(), // written as it came
})

const questionSchema = z.union([
  z.strictObject({
    prompts,
    with_ids: z.boolean(),
    constraint: z.union([constraint, tools]).optional(),
    truncated: z.strictObject(truncation).optional(),
  }),
  z.strictObject({ tokens: z.array(token_id) }),
])

const resumptionSchema = z.strictObject({
  request_id: z.string().min(1).max(100),
  attempt: z.int().min(1),
  takes_over: z.boolean(),
})

/** What a ticket has to fit. */
export interface DoorSettings {
  node_id: string
  model_id: string
  ticket_keys: { readonly known: readonly PublicKey[] }
  now?: () => number
}

/** The ticket in a header's text, for this node and its model, and not too old; refuses `bad_ticket`. */
export async function acceptTicket(text: string | undefined, settings: DoorSettings): Promise<Ticket> {
  const { node_id, model_id, ticket_keys, now = Date.now } = settings
  const ticket = text === undefined ? null : await verifyTicket(text, ticket_keys.known)
  if (!ticket) throw new Refusal('bad_ticket', 'The ticket is missing or was not signed by our gateway.')
  if (ticket.node_id !== node_id)
    throw new Refusal('bad_ticket', `The ticket is for the node ${ticket.node_id}, not ${node_id}.`)
  if (ticket.model !== model_id) throw new Refusal('bad_ticket', `The ticket is for ${ticket.model}, not ${model_id}.`)
  if (ticket.expires_unix_ms < now()) throw new Refusal('bad_ticket', 'The ticket has expired, or a clock is wrong.')
  return ticket
}

/** A body's text, where it is the one that the ticket was given for; refuses `bad_ticket`. */
export function acceptBody(bytes: Uint8Array, ticket: Ticket): string {
  if (hash('sha256', bytes, 'base64url') !== ticket.body_sha256)
    throw new Refusal('bad_ticket', 'The ticket is for another body.')
  return new TextDecoder().decode(bytes)
}

interface SignedBody {
  signature: string | undefined
  body: string
}

/** A question that a gateway of ours signed for this node; refuses `bad_ticket`. */
export async function acceptQuestion(signed: SignedBody, settings: DoorSettings): Promise<Question> {
  return parsed(await signedText(signed, settings), questionSchema)
}

/** The same of a stream that is to be resumed. */
export async function acceptResumption(signed: SignedBody, settings: DoorSettings): Promise<Resumption> {
  return parsed(await signedText(signed, settings), resumptionSchema)
}

async function signedText(
  { signature, body }: SignedBody,
  { node_id, ticket_keys, now = Date.now }: DoorSettings,
): Promise<string> {
  if (!(await verifyQuestion(signature ?? '', { node_id, body, now_ms: now() }, ticket_keys.known)))
    throw new Refusal('bad_ticket', 'The question was not signed by our gateway for this node, or is too old.')
  return body
}

/** The request in a body's text; refuses `bad_request` naming what is wrong. */
export function parseRequest(text: string): GenerateRequest {
  return parsed(text, requestSchema)
}

function parsed<T>(text: string, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(parseJson(text))
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

/** A generation that is ready to start, of a request whose chats are formatted. Refuses what does not fit the ticket or the model. */
export function acceptRequest(
  request: GenerateRequest,
  { ticket, text, held }: { ticket: Ticket; text: string; held: HeldConstraint | null },
  runner: Pick<Runner, 'prepare'>,
): Generation {
  if (request.request_id !== ticket.request_id) throw new Refusal('bad_ticket', 'The ticket is for another request.')
  const run = runner.prepare(request, ticket.cache_salt, held)
  const output_tokens = run.choices.reduce((sum, { output_tokens_max }) => sum + output_tokens_max, 0)
  checkCeiling('prompt', run.prompt_tokens, ticket.prompt_tokens_max)
  checkCeiling('output', output_tokens, ticket.request_output_tokens_max)
  return new Generation({ ticket: text, attempt: ticket.attempt, request, run })
}

function checkCeiling(what: string, tokens: number, tokens_max: number): void {
  if (tokens <= tokens_max) return
  throw new Refusal('ceiling_exceeded', `The request has ${tokens} ${what} tokens; its ticket is for ${tokens_max}.`)
}
