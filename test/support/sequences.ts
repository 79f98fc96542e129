// Sequences for tests of the scheduler and the engine.

import { neutralSampling } from '../../contract/internal/generation.ts'
import type { Engine } from '../../gpu-node/run/native/engine.ts'
import type { RowSampling } from '../../gpu-node/run/native/sampling.ts'
import type { DrawnOutput, Scheduler, SequenceOutput } from '../../gpu-node/run/native/scheduler.ts'
import { Sequence, type SequenceOptions } from '../../gpu-node/run/native/sequence.ts'

export const greedy: RowSampling = {
  ...neutralSampling,
  temperature: 0,
  seed: 0n,
  bias: { ids: [], values: [] },
  logprobs: null,
}

export function makeSequence(options: Partial<SequenceOptions> & { prompt: readonly number[] }): Sequence {
  return new Sequence({
    output_tokens_max: 8,
    output_tokens_min: 0,
    stop_ids: new Set([2]),
    cache_salt: '',
    priority: 'interactive',
    sampling: greedy,
    ...options,
  })
}

/** Of what a step made, the tokens that were drawn. */
export function drawnOf(outputs: readonly SequenceOutput[]): DrawnOutput[] {
  return outputs.filter((output) => 'token' in output)
}

/** Runs sequences to their end, all submitted at once. Returns the output ids of each. */
export async function runToEnd(engine: Engine, scheduler: Scheduler, sequences: Sequence[]): Promise<number[][]> {
  for (const sequence of sequences) scheduler.submit(sequence)
  for (let step = scheduler.schedule(); step; step = scheduler.schedule()) {
    scheduler.apply(step, await engine.step(step.batch))
  }
  return sequences.map((sequence) => sequence.tokens.slice(sequence.prompt_tokens))
}
