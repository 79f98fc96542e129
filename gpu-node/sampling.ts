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
  const floats = (of: (sampling: RowSampling) => number) => Float32Array.from(rows, (row) => of(row.sampling))
  const histories = rows.map((row) => (hasPenalty(row.sampling) ? row.tokens : []))
  return {
    temperature: floats((s) => s.temperature),
    top_p: floats((s) => s.top_p),
    min_p: floats((s) => s.min_p),
    repetition_penalty: floats((s) => s.repetition_penalty),
    frequency_penalty: floats((s) => s.frequency_penalty),
    presence_penalty: floats((s) => s.presence_penalty),
    top_k: Int32Array.from(rows, (row) => row.sampling.top_k),
    seeds: BigUint64Array.from(rows, (row) => row.sampling.seed),
    counters: Int32Array.from(rows, (row) => row.output_tokens),
    history: concatenated(histories),
    history_counts: Int32Array.from(histories, (history) => history.length),
    output_counts: Int32Array.from(rows, (row) => (hasPenalty(row.sampling) ? row.output_tokens : 0)),
    bias_counts: new Int32Array(rows.length),
    bias_ids: new Int32Array(),
    bias_values: new Float32Array(),
    banned_counts: new Int32Array(rows.length),
    banned_ids: new Int32Array(),
    logprobs: new Int32Array(rows.length).fill(-1),
  }
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
