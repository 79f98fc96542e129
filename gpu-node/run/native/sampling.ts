// How the next token is drawn: from a request's parameters to the per-row arrays of a step. Randomness is counter-based,
// (seed, index of the output token), so a neighbour in the batch never changes what a sequence draws.

import { type GenerateRequest, LOGPROBS_MAX, type SamplingParameters } from '../../../contract/internal/generation.ts'
import type { StepBatch, StepResult } from './engine.ts'
import type { Sequence } from './sequence.ts'

export interface DrawParameters extends Omit<SamplingParameters, 'seed'> {
  seed: bigint
}

export interface RowSampling extends DrawParameters {
  bias: { ids: readonly number[]; values: readonly number[] }
  logprobs: number | null // alternatives wanted; null = no log-probabilities at all
}

// The engine counts in 32 bits, where what is smaller may become 0: and a top_p of 0 keeps no token, a penalty of 0 divides.
const FLOAT_MIN = 2 ** -126

/** Every choice draws from a seed of its own: the request's plus its index. */
export function samplingOfChoice(parameters: SamplingParameters, choice: number): DrawParameters {
  return {
    ...parameters,
    top_p: Math.max(parameters.top_p, FLOAT_MIN),
    repetition_penalty: Math.max(parameters.repetition_penalty, FLOAT_MIN),
    seed: BigInt.asUintN(64, BigInt(parameters.seed) + BigInt(choice)),
  }
}

export function biasOf(logit_bias: GenerateRequest['logit_bias']): RowSampling['bias'] {
  return { ids: logit_bias.map(([id]) => id), values: logit_bias.map(([, value]) => value) }
}

/** What the model thought of the token it drew, under its raw logits: its log-probability, and the likeliest others'. */
export interface TokenLogprobs {
  logprob: number
  top: { id: number; logprob: number }[]
}

const TOP_STRIDE = LOGPROBS_MAX // the engine's rows of alternatives are this long, whatever was asked for

/** The log-probabilities of one sampled row, or null where its sequence wants none. */
export function logprobsOf({ sampling }: Sequence, result: StepResult, row: number): TokenLogprobs | null {
  if (sampling.logprobs === null) return null
  const top = Array.from({ length: sampling.logprobs }, (_, k) => row * TOP_STRIDE + k)
    .map((at) => ({ id: result.top_ids[at]!, logprob: result.top_logprobs[at]! }))
    .filter(({ id }) => id >= 0) // fewer where the vocabulary is smaller
  return { logprob: result.logprobs[row]!, top }
}

type RowArrays = Omit<
  StepBatch,
  'tokens' | 'token_counts' | 'starts' | 'block_counts' | 'block_tables' | 'rows' | 'want_logits'
>

/** One token to draw: the one after a sequence's own and the first `drafted` of its draft. */
export interface Row {
  sequence: Sequence
  draft: readonly number[]
  drafted: number
}

/** The arrays of a step that have one entry a sampled row. A drafted token counts as output for the rows after it. */
export function rowArrays(rows: readonly Row[]): RowArrays {
  const banned = rows.map(({ sequence, drafted }) => sequence.bannedIds(drafted))
  const biases = rows.map(({ sequence }) => sequence.sampling.bias)
  const biased = biases.filter(({ ids }) => ids.length > 0)
  const floats = () => new Float32Array(rows.length)
  const ints = () => new Int32Array(rows.length)
  const arrays: RowArrays = {
    temperature: floats(),
    top_p: floats(),
    min_p: floats(),
    repetition_penalty: floats(),
    frequency_penalty: floats(),
    presence_penalty: floats(),
    top_k: ints(),
    seeds: new BigUint64Array(rows.length),
    counters: ints(),
    history: histories(rows),
    history_counts: ints(),
    output_counts: ints(),
    bias_counts: ints(),
    bias_ids: Int32Array.from(biased.flatMap(({ ids }) => ids)),
    bias_values: Float32Array.from(biased.flatMap(({ values }) => values)),
    banned_counts: ints(),
    banned_ids: Int32Array.from(banned.filter((ids) => ids.length > 0).flat()),
    logprobs: ints(),
  }
  for (let i = 0; i < rows.length; i++) {
    fillRow(arrays, i, rows[i]!)
    arrays.banned_counts[i] = banned[i]!.length
  }
  return arrays
}

const NO_LOGPROBS = -1

function fillRow(arrays: RowArrays, i: number, row: Row): void {
  const { sampling } = row.sequence
  const output_tokens = row.sequence.output_tokens + row.sequence.awaited + row.drafted
  const history_count = historyCount(row)
  arrays.temperature[i] = sampling.temperature
  arrays.top_p[i] = sampling.top_p
  arrays.min_p[i] = sampling.min_p
  arrays.repetition_penalty[i] = sampling.repetition_penalty
  arrays.frequency_penalty[i] = sampling.frequency_penalty
  arrays.presence_penalty[i] = sampling.presence_penalty
  arrays.top_k[i] = sampling.top_k
  arrays.bias_counts[i] = sampling.bias.ids.length
  arrays.seeds[i] = sampling.seed
  arrays.counters[i] = output_tokens
  arrays.history_counts[i] = history_count
  arrays.output_counts[i] = history_count > 0 ? output_tokens : 0
  arrays.logprobs[i] = sampling.logprobs ?? NO_LOGPROBS
}

function historyCount({ sequence, drafted }: Row): number {
  return hasPenalty(sequence.sampling) ? sequence.target + drafted : 0
}

function histories(rows: readonly Row[]): Int32Array {
  const penalised = rows.filter(({ sequence }) => hasPenalty(sequence.sampling))
  const all = new Int32Array(penalised.reduce((sum, row) => sum + historyCount(row), 0))
  let at = 0
  for (const { sequence, draft, drafted } of penalised) {
    all.set(sequence.tokens, at)
    at += sequence.target
    if (sequence.awaited > 0) all[at - 1] = sequence.tokenAt(sequence.target - 1)
    for (let k = 0; k < drafted; k++) all[at++] = draft[k]!
  }
  return all
}

function hasPenalty(sampling: DrawParameters): boolean {
  return sampling.repetition_penalty !== 1 || sampling.frequency_penalty !== 0 || sampling.presence_penalty !== 0
}
