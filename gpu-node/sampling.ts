// How the next token is drawn: from a request's parameters to the per-row arrays of a step. Randomness is counter-based,
// (seed, index of the output token), so a neighbour in the batch never changes what a sequence draws.

import type { SamplingParameters } from '../contract/generation.ts'
import type { StepBatch } from './engine.ts'
import type { Sequence } from './sequence.ts'

export interface RowSampling extends Omit<SamplingParameters, 'seed'> {
  seed: bigint
}

/** Every choice draws from a seed of its own: the request's plus its index. */
export function samplingOfChoice(parameters: SamplingParameters, choice: number): RowSampling {
  return { ...parameters, seed: BigInt.asUintN(64, BigInt(parameters.seed) + BigInt(choice)) }
}

type RowArrays = Omit<
  StepBatch,
  'tokens' | 'token_counts' | 'starts' | 'block_counts' | 'block_tables' | 'rows' | 'want_logits'
>

/** The arrays of a step that have one entry a sampled row. */
export function rowArrays(rows: readonly Sequence[]): RowArrays {
  const histories = rows.map((row) => (hasPenalty(row.sampling) ? row.tokens : []))
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
    history: concatenated(histories),
    history_counts: ints(),
    output_counts: ints(),
    bias_counts: ints(),
    bias_ids: new Int32Array(),
    bias_values: new Float32Array(),
    banned_counts: ints(),
    banned_ids: new Int32Array(),
    logprobs: ints().fill(-1),
  }
  for (const [i, row] of rows.entries()) fillRow(arrays, i, row, histories[i]!.length)
  return arrays
}

function fillRow(arrays: RowArrays, i: number, { sampling, output_tokens }: Sequence, history_count: number): void {
  arrays.temperature[i] = sampling.temperature
  arrays.top_p[i] = sampling.top_p
  arrays.min_p[i] = sampling.min_p
  arrays.repetition_penalty[i] = sampling.repetition_penalty
  arrays.frequency_penalty[i] = sampling.frequency_penalty
  arrays.presence_penalty[i] = sampling.presence_penalty
  arrays.top_k[i] = sampling.top_k
  arrays.seeds[i] = sampling.seed
  arrays.counters[i] = output_tokens
  arrays.history_counts[i] = history_count
  arrays.output_counts[i] = history_count > 0 ? output_tokens : 0
}

function concatenated(lists: readonly (readonly number[])[]): Int32Array {
  const all = new Int32Array(lists.reduce((sum, list) => sum + list.length, 0))
  let at = 0
  for (const list of lists) {
    all.set(list, at)
    at += list.length
  }
  return all
}

function hasPenalty(sampling: RowSampling): boolean {
  return sampling.repetition_penalty !== 1 || sampling.frequency_penalty !== 0 || sampling.presence_penalty !== 0
}
