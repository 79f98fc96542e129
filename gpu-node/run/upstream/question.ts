// One choice as it is asked of an engine: a path below its address, and a body. Each choice is a request of its own, because engines
// that count several at once do not agree on whose tokens a count is. What an engine would drop is refused: an answer that was drawn
// otherwise than it was asked for is a wrong one.

import { createHash } from 'node:crypto'
import { Refusal } from '../../refusal.ts'
import type { RunRequest } from '../runner.ts'
import type { Dialect } from './dialect.ts'
import type { ConstraintFields } from './held-constraint.ts'
import type { Prompt } from './prompt.ts'

export interface Asked {
  request: RunRequest
  prompt: Prompt
  choice: number
  /** Its name there, where the address has none of its own. */
  model: string
  max_tokens: number
  /** Names the account to the engine, and says nothing of it. */
  cache_salt: string
  constraint: ConstraintFields
}

export interface Question {
  path: '/completions' | '/chat/completions'
  /** All but the model's name, which is the address's own. */
  body: Record<string, unknown>
}

export function questionOf(asked: Asked, dialect: Dialect): Question {
  const { request, prompt, cache_salt } = asked
  const body = {
    ...promptFields(asked),
    stream: true,
    stream_options: { include_usage: true, ...(dialect.has_continuous_usage && { continuous_usage_stats: true }) },
    n: 1,
    max_tokens: asked.max_tokens,
    ...sampling(asked, dialect),
    ...ends(request, dialect),
    ...logprobs(asked),
    ...(request.logit_bias.length > 0 && { logit_bias: Object.fromEntries(request.logit_bias) }),
    ...(request.return_token_ids && { return_token_ids: true }),
    ...asked.constraint,
    user: opaque('user', cache_salt),
    ...(dialect.has_cache_salt && { cache_salt: opaque('cache', cache_salt) }),
  }
  return { path: prompt.kind === 'chat' ? '/chat/completions' : '/completions', body }
}

/** Refuses what an engine of this dialect has no field for. */
export function refuseUnsaid(request: RunRequest, prompts: readonly Prompt[], dialect: Dialect): void {
  const { sampling } = request
  const needs: [boolean, string][] = [
    [sampling.top_k !== 0, 'top_k'],
    [sampling.min_p !== 0, 'min_p'],
    [sampling.repetition_penalty !== 1, 'repetition_penalty'],
    [request.min_tokens > 0, 'min_tokens'],
    [request.ignore_eos, 'ignore_eos'],
    [request.stop_token_ids.length > 0, 'stop_token_ids'],
  ]
  const unsaid = dialect.has_samplers ? undefined : needs.find(([is_asked]) => is_asked)
  if (unsaid) throw unsupported(unsaid[1])
  if (request.return_token_ids && !dialect.tells_ids) throw unsupported('return_token_ids')
  const is_cut_there = request.truncate_prompt !== undefined && prompts.some(({ kind }) => kind !== 'ids')
  if (is_cut_there && !dialect.truncates) throw unsupported('truncate_prompt_tokens')
  if (request.max_tokens < 1) throw unsupported('max_tokens')
  if (request.echo && request.logprobs !== null) throw unsupported('echo')
}

export function unsupported(param: string): Refusal {
  return new Refusal('unsupported', `What serves this model does not take '${param}' as it is given.`, { param })
}

function promptFields({ request, prompt }: Asked): Record<string, unknown> {
  const truncation = truncationOf(request)
  if (prompt.kind === 'ids') return { prompt: prompt.ids }
  if (prompt.kind === 'text')
    return { prompt: prompt.text, ...truncation, ...(!prompt.has_begin && { add_special_tokens: false }) }
  const messages = prompt.turns.map(({ role, text }) => ({ role, content: text }))
  const continued = prompt.is_continued && { add_generation_prompt: false, continue_final_message: true }
  return { messages, ...truncation, ...continued }
}

function truncationOf({ truncate_prompt }: RunRequest): Record<string, unknown> {
  if (truncate_prompt === undefined) return {}
  return { truncate_prompt_tokens: truncate_prompt === 'to_fit' ? -1 : truncate_prompt }
}

// All of them are said, also where they are off: an engine takes those that are missing from the model's own generation_config.json.
function sampling({ request, choice }: Asked, dialect: Dialect): Record<string, unknown> {
  const { top_p, top_k, min_p, repetition_penalty, frequency_penalty, presence_penalty, seed } = request.sampling
  const temperature = (choice % request.n > 0 ? request.later_temperature : undefined) ?? request.sampling.temperature
  const added = { top_k: top_k === 0 ? -1 : top_k, min_p, repetition_penalty }
  const drawn = temperature > 0 && { seed: seedOf(seed, choice) } // a seed of each request slows an engine down
  return { temperature, top_p, frequency_penalty, presence_penalty, ...(dialect.has_samplers && added), ...drawn }
}

// JSON's numbers are whole up to here, everywhere.
const SEED_BITS = 53

/** The caller's own where JSON can hold it. Choices behind the first have a hash of both, so that those of neighbouring seeds differ. */
function seedOf(seed: string, choice: number): number {
  if (choice === 0) return Number(BigInt.asUintN(SEED_BITS, BigInt(seed)))
  const digest = createHash('sha256').update(`${seed} ${choice}`).digest()
  return Number(BigInt.asUintN(SEED_BITS, digest.readBigUInt64BE()))
}

function ends(request: RunRequest, dialect: Dialect): Record<string, unknown> {
  const { min_tokens, ignore_eos, stop_token_ids } = request
  const told = stopsTold(request, dialect)
  return {
    ...(told.length > 0 && { stop: told, ...(dialect.keeps_stops && { include_stop_str_in_output: true }) }),
    ...(min_tokens > 0 && { min_tokens }),
    ...(ignore_eos && { ignore_eos }),
    ...(stop_token_ids.length > 0 && { stop_token_ids }),
  }
}

/** Those that the engine looks for, too. One that keeps them out of the text would not say which it was, where there are several. */
function stopsTold({ stop, include_stop }: RunRequest, { keeps_stops, stops_max }: Dialect): readonly string[] {
  const may_tell = keeps_stops || (stop.length === 1 && !include_stop)
  return may_tell && stop.length <= stops_max ? stop : []
}

function logprobs({ request, prompt }: Asked): Record<string, unknown> {
  if (request.logprobs === null) return {}
  if (prompt.kind !== 'chat') return { logprobs: request.logprobs }
  return { logprobs: true, ...(request.logprobs > 0 && { top_logprobs: request.logprobs }) }
}

/** The same for one account each time, and of no use to find out which it is. */
function opaque(purpose: string, cache_salt: string): string {
  return createHash('sha256').update(`${purpose} ${cache_salt}`).digest('hex').slice(0, 32)
}
