// From a request to sequences: its prompts as the model's tokens, one sequence a choice. What comes out is sure to fit; what
// could not be run is refused by name.

import type { PromptPart } from '../../../contract/internal/generation.ts'
import { Refusal } from '../../refusal.ts'
import type { RunRequest } from '../runner.ts'
import { EchoedPrompt } from './echoed-prompt.ts'
import { type Grammar, Reading } from './grammar/grammar.ts'
import { invalidConstraint } from './grammar/grammar-compiler.ts'
import type { Model } from './load/model-folder.ts'
import type { NativeChoiceParts } from './run.ts'
import { biasOf, samplingOfChoice } from './sampling.ts'
import { Sequence } from './sequence.ts'
import { Detokenizer } from './tokenizer/detokenizer.ts'
import { encodePrompt, encodePromptEnd, refuseStrangeIds } from './tokenizer/encode-prompt.ts'

export interface Room {
  model: Pick<Model, 'shape' | 'tokenizer' | 'eos_ids'>
  sequence_tokens_max: number // what the context and all blocks hold
  undrawable_ids: readonly number[]
  grammar: Grammar | null // what every output is to be a text of
  judges?: boolean // the model gives each prompt a value, and nothing is drawn
}

/** The choices of a request, in order, none of them submitted. */
export function prepareChoices(request: RunRequest, cache_salt: string, room: Room): NativeChoiceParts[] {
  const prompts = promptsOf(request, room)
  const stop_ids = stopIds(request, room)
  const own = {
    output_tokens_max: outputTokensMax(
      room.judges ? { ...request, max_tokens: 0 } : request,
      prompts,
      room.sequence_tokens_max,
    ),
    output_tokens_min: request.min_tokens,
    stop_ids,
    undrawable_ids: room.undrawable_ids,
    priority: request.priority,
    cache_salt,
    predicted: predictedOf(request, room),
  }
  const sampling = (choice: number) => ({
    ...samplingOfChoice(request.sampling, choice),
    ...(choice % request.n > 0 &&
      request.later_temperature !== undefined && { temperature: request.later_temperature }),
    bias: biasOf(request.logit_bias),
    logprobs: room.judges ? 0 : request.logprobs, // a value comes in the place of one
  })
  const { tokenizer } = room.model
  const is_scored = request.echo && request.logprobs !== null && !room.judges
  return prompts.flatMap((prompt, p) => {
    const sequences = fork(
      request.n,
      (copy, leader) =>
        new Sequence({
          prompt,
          ...own,
          leader,
          sampling: sampling(p * request.n + copy),
          reading: readingAfter(prompt, stop_ids, room),
          scores_prompt: is_scored && !leader,
          is_judged: room.judges ?? false,
        }),
    )
    const echo = request.echo && !is_scored ? Detokenizer.beginningOf(tokenizer, prompt) : ''
    const scored_echo = is_scored ? new EchoedPrompt(tokenizer, prompt) : null
    return sequences.map((sequence) => ({
      sequence,
      detokenizer: Detokenizer.after(tokenizer, prompt),
      echo,
      scored_echo,
    }))
  })
}

/** A special token has no text that a stop string could be found in: one that is spelled as it ends a choice by its id. */
function stopIds({ ignore_eos, stop_token_ids, stop }: RunRequest, { model }: Room): Set<number> {
  const spelled = stop.flatMap((text) => model.tokenizer.controlId(text) ?? [])
  return new Set([...(ignore_eos ? [] : model.eos_ids), ...stop_token_ids, ...spelled])
}

/** Ids that the network has rows for and no piece has: its padding, which was never trained. */
export function undrawableIds({ shape, tokenizer, eos_ids }: Room['model']): number[] {
  return Array.from({ length: shape.vocab_size }, (_, id) => id).filter((id) => !tokenizer.has(id) && !eos_ids.has(id))
}

// A prediction longer than any answer can be is no better for it. A token has 16 characters at most, nearly always.
function predictedOf({ prediction }: RunRequest, { model: { tokenizer }, sequence_tokens_max }: Room) {
  if (!prediction) return undefined
  return tokenizer.encode(prediction.slice(0, 16 * sequence_tokens_max)).slice(0, sequence_tokens_max)
}

function readingAfter(prompt: number[], stop_ids: ReadonlySet<number>, { model, grammar }: Room): Reading | null {
  if (grammar === null) return null
  const at_start = Detokenizer.after(model.tokenizer, prompt).is_at_start
  const reading = new Reading({ grammar, at_start, stop_ids })
  if (!reading.can_begin)
    throw invalidConstraint(grammar.constraint, 'No token of this model can begin a text that would be valid.')
  return reading
}

function promptsOf(request: RunRequest, room: Room): number[][] {
  const prompts = encodePrompts(request, room)
  const { tokenizer } = room.model
  refuseStrangeIds('stop_token_ids', request.stop_token_ids, tokenizer)
  refuseStrangeIds(
    'logit_bias',
    request.logit_bias.map(([id]) => id),
    tokenizer,
  )
  return prompts
}

type PromptRequest = Pick<RunRequest, 'prompts' | 'truncate_prompt' | 'max_tokens'>
type PromptRoom = Pick<Room, 'sequence_tokens_max'> & { model: Pick<Model, 'tokenizer'> }

/** The tokens of each prompt, truncated where that is wanted. */
export function encodePrompts(request: PromptRequest, room: PromptRoom): number[][] {
  const { tokenizer } = room.model
  const kept_max = keptMax(request, room)
  if (kept_max !== null) return request.prompts.map((parts) => truncated(parts, kept_max, room))
  refuseHopeless(request, tokenizer, room.sequence_tokens_max)
  return request.prompts.map((parts) => encodePrompt(parts, tokenizer))
}

/** Null where nothing is cut of a prompt that fits. */
function keptMax({ truncate_prompt, max_tokens }: PromptRequest, { sequence_tokens_max }: PromptRoom): number | null {
  if (truncate_prompt === 'to_fit') return Math.max(1, sequence_tokens_max - max_tokens)
  return truncate_prompt && truncate_prompt <= sequence_tokens_max ? truncate_prompt : null
}

function truncated(parts: PromptPart[], tokens_max: number, { model }: PromptRoom): number[] {
  const ids = encodePromptEnd(parts, model.tokenizer, { tokens_max })
  if (ids !== null) return ids
  throw new Refusal(
    'context_length_exceeded',
    `A text of the prompt is too long to be truncated: there is no place near its last ${tokens_max} tokens where a token begins for sure.`,
    { param: 'prompt' },
  )
}

/** The choices over one prompt: the first computes it for all. */
function fork(n: number, make: (copy: number, leader?: Sequence) => Sequence): Sequence[] {
  const leader = make(0)
  return [leader, ...Array.from({ length: n - 1 }, (_, i) => make(i + 1, leader))]
}

// A text that cannot fit, however its tokens fall, is not worth the milliseconds of finding them.
function refuseHopeless(request: PromptRequest, tokenizer: Model['tokenizer'], sequence_tokens_max: number): void {
  for (const parts of request.prompts) {
    const tokens_min = parts.reduce((sum, part) => sum + ('text' in part ? tokenizer.tokensMin(part.text) : 0), 0)
    if (tokens_min > sequence_tokens_max)
      throw contextExceeded(sequence_tokens_max, `at least ${tokens_min}`, request.max_tokens)
  }
}

function outputTokensMax(request: RunRequest, prompts: number[][], sequence_tokens_max: number): number {
  const longest = Math.max(...prompts.map((prompt) => prompt.length))
  if (prompts.some((prompt) => prompt.length === 0))
    throw new Refusal('bad_request', 'A prompt has no tokens.', { param: 'prompts' })
  const room = sequence_tokens_max - longest
  if (request.max_tokens_is_default && room >= 1) return Math.min(request.max_tokens, room)
  if (request.max_tokens <= room) return request.max_tokens
  throw contextExceeded(sequence_tokens_max, String(longest), request.max_tokens)
}

function contextExceeded(sequence_tokens_max: number, prompt_tokens: string, max_tokens: number): Refusal {
  return new Refusal(
    'context_length_exceeded',
    `This model's maximum context length is ${sequence_tokens_max} tokens. However, the prompt has ${prompt_tokens} tokens ` +
      `and the completion may have ${max_tokens}.`,
    { param: 'prompt' },
  )
}
