// How the next token is drawn: from a request's parameters to the rows of a step. Randomness is counter-based,
// (seed, index of the output token), so a neighbour in the batch never changes what a sequence draws.

import {
  type GenerateRequest,
  LOGPROBS_MAX,
  neutralSampling,
  type SamplingParameters,
} from '../../../contract/internal/generation.ts'
import type { StepBatch, StepResult } from './engine.ts'
import { RowTable, type Span } from './row-table.ts'
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

/** Every choice draws from a seed of its own: the first from the request's. */
export function samplingOfChoice(parameters: SamplingParameters, choice: number): DrawParameters {
  return {
    ...parameters,
    top_p: Math.max(parameters.top_p, FLOAT_MIN),
    repetition_penalty: Math.max(parameters.repetition_penalty, FLOAT_MIN),
    seed: seedOfChoice(BigInt.asUintN(64, BigInt(parameters.seed)), choice),
  }
}

// Callers count their seeds up, so that the choices of one may not be those of the next: each is a hash of both.
function seedOfChoice(seed: bigint, choice: number): bigint {
  return choice === 0 ? seed : mixed(mixed(seed) + BigInt(choice) * 0x9e3779b97f4a7c15n)
}

/** The finalizer of SplitMix64 (Steele, Lea and Flood), which is a bijection. */
function mixed(value: bigint): bigint {
  let x = BigInt.asUintN(64, value)
  x = BigInt.asUintN(64, (x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n)
  x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d049bb133111ebn)
  return x ^ (x >> 31n)
}

export function biasOf(logit_bias: GenerateRequest['logit_bias']): RowSampling['bias'] {
  return { ids: logit_bias.map(([id]) => id), values: logit_bias.map(([, value]) => value) }
}

/** What the model thought of a token that was drawn or scored, under its raw logits: its log-probability, and the likeliest others'. */
export interface TokenLogprobs {
  logprob: number
  top: { id: number; logprob: number }[]
}

const TOP_STRIDE = LOGPROBS_MAX // the engine's rows of alternatives are this long, whatever was asked for

/** The log-probabilities of one row, or null where its sequence wants none. */
export function logprobsOf(
  { sampling, undrawable_ids }: Sequence,
  result: StepResult,
  row: number,
): TokenLogprobs | null {
  if (sampling.logprobs === null) return null
  const top = Array.from({ length: sampling.logprobs }, (_, k) => row * TOP_STRIDE + k)
    .map((at) => ({ id: result.top_ids[at]!, logprob: result.top_logprobs[at]! }))
    .filter(({ id }) => id >= 0 && !undrawable_ids.includes(id)) // fewer where the vocabulary is smaller
  return { logprob: result.logprobs[row]!, top }
}

type PackedRows = Pick<StepBatch, 'rows' | 'history' | 'bias_ids' | 'bias_values' | 'banned_ids' | 'mask_words'>

/** One token to draw: the one after a sequence's own and the first `drafted` of its draft. */
export interface DrawnRow {
  sequence: Sequence
  draft: readonly number[]
  drafted: number
  token: number // whose logits it is drawn from: an index into the step's
}

/** One token of a prompt to score: how likely it is behind those before it. */
export interface ScoredRow {
  sequence: Sequence
  scored: number
  token: number // the one before it: an index into the step's
}

export type Row = DrawnRow | ScoredRow

/** The rows of a step and the lists that they are spans of. A drafted token counts as output for the rows after it. */
export function packRows(rows: readonly Row[]): PackedRows {
  const table = new RowTable(rows.length)
  const drawn = rows.filter(isDrawn)
  const banned = drawn.map(({ sequence, drafted }) => sequence.bannedIds(drafted))
  const biases = drawn.map(({ sequence }) => sequence.sampling.bias).filter(({ ids }) => ids.length > 0)
  const ends: Ends = { history: 0, bias: 0, banned: 0, mask: 0 }
  let place = 0
  for (const [i, row] of rows.entries()) {
    if (isDrawn(row)) packDrawn(table, i, row, banned[place++]!.length, ends)
    else packScored(table, i, row, ends)
  }
  return {
    rows: table.bytes,
    history: histories(drawn, ends.history),
    bias_ids: Int32Array.from(biases.flatMap(({ ids }) => ids)),
    bias_values: Float32Array.from(biases.flatMap(({ values }) => values)),
    banned_ids: joined(banned, ends.banned),
    mask_words: masks(drawn, ends.mask),
  }
}

function joined(lists: readonly (readonly number[])[], length: number): Int32Array {
  const all = new Int32Array(length)
  let at = 0
  for (const list of lists) {
    all.set(list, at)
    at += list.length
  }
  return all
}

function isDrawn(row: Row): row is DrawnRow {
  return 'draft' in row
}

/** The last row's spans end here, and the next one's begin. */
type Ends = Record<'history' | 'bias' | 'banned' | 'mask', number>

const NO_LOGPROBS = -1
const IS_DRAWN = -1

// Log-probabilities are the model's own, so nothing of how its sequence draws matters.
function packScored(table: RowTable, i: number, { sequence, scored, token }: ScoredRow, ends: Ends): void {
  table.set(i, {
    ...neutralSampling,
    seed: 0n,
    token,
    counter: 0,
    logprobs: sequence.sampling.logprobs ?? NO_LOGPROBS,
    output_tokens: 0,
    history: spanFrom(ends, 'history', 0),
    bias: spanFrom(ends, 'bias', 0),
    banned: spanFrom(ends, 'banned', 0),
    mask: spanFrom(ends, 'mask', 0),
    scored,
  })
}

function packDrawn(table: RowTable, i: number, row: DrawnRow, banned_count: number, ends: Ends): void {
  const { sequence, drafted, token } = row
  const { sampling } = sequence
  const counter = sequence.output_tokens + sequence.awaited + drafted
  const history = spanFrom(ends, 'history', historyCount(row))
  table.set(i, {
    seed: sampling.seed,
    token,
    counter,
    temperature: sampling.temperature,
    top_p: sampling.top_p,
    min_p: sampling.min_p,
    repetition_penalty: sampling.repetition_penalty,
    frequency_penalty: sampling.frequency_penalty,
    presence_penalty: sampling.presence_penalty,
    top_k: sampling.top_k,
    logprobs: sampling.logprobs ?? NO_LOGPROBS,
    output_tokens: history.count > 0 ? counter : 0,
    history,
    bias: spanFrom(ends, 'bias', sampling.bias.ids.length),
    banned: spanFrom(ends, 'banned', banned_count),
    mask: spanFrom(ends, 'mask', sequence.reading?.mask_words ?? 0),
    scored: IS_DRAWN,
  })
}

function spanFrom(ends: Ends, list: keyof Ends, count: number): Span {
  const begin = ends[list]
  ends[list] = begin + count
  return { begin, count }
}

function historyCount({ sequence, drafted }: DrawnRow): number {
  return hasPenalty(sequence.sampling) ? sequence.target + drafted : 0
}

function histories(rows: readonly DrawnRow[], length: number): Int32Array {
  const penalised = rows.filter(({ sequence }) => hasPenalty(sequence.sampling))
  const all = new Int32Array(length)
  let at = 0
  for (const { sequence, draft, drafted } of penalised) {
    all.set(sequence.tokens, at)
    at += sequence.target
    if (sequence.awaited > 0) all[at - 1] = sequence.tokenAt(sequence.target - 1)
    for (let k = 0; k < drafted; k++) all[at++] = draft[k]!
  }
  return all
}

function masks(rows: readonly DrawnRow[], length: number): Int32Array {
  const all = new Int32Array(length)
  let at = 0
  for (const { sequence, draft, drafted } of rows) {
    if (!sequence.reading) continue
    sequence.reading.mask(draft.slice(0, drafted), all.subarray(at, at + sequence.reading.mask_words))
    at += sequence.reading.mask_words
  }
  return all
}

function hasPenalty(sampling: DrawParameters): boolean {
  return sampling.repetition_penalty !== 1 || sampling.frequency_penalty !== 0 || sampling.presence_penalty !== 0
}
