// What the benches ask of the engine and of the node: greedy, unless they say otherwise, and without penalties.

import { type GenerateRequest, neutralSampling } from '../contract/internal/generation.ts'
import type { RowSampling } from '../gpu-node/run/native/sampling.ts'
import { Sequence, type SequenceOptions } from '../gpu-node/run/native/sequence.ts'

const plain = { ...neutralSampling, temperature: 0 }

export const greedy: RowSampling = { ...plain, seed: 0n, bias: { ids: [], values: [] }, logprobs: null }

export function sequenceOf(
  options: Partial<SequenceOptions> & Pick<SequenceOptions, 'prompt' | 'output_tokens_max'>,
): Sequence {
  return new Sequence({
    output_tokens_min: 0,
    stop_ids: new Set(),
    cache_salt: '',
    priority: 'interactive',
    sampling: greedy,
    ...options,
  })
}

/** The request of a stream whose prompt the bench encoded itself. */
export function streamRequest(): GenerateRequest {
  return {
    request_id: crypto.randomUUID(),
    response_id: 'cmpl-1',
    created_unix_s: 1_700_000_000,
    model: 'm',
    shape: 'completion',
    stream: true,
    include_usage: false,
    prompts: [[]],
    n: 1,
    max_tokens: 1,
    max_tokens_is_default: false,
    stop: [],
    stop_token_ids: [],
    include_stop: false,
    min_tokens: 0,
    ignore_eos: false,
    logit_bias: [],
    logprobs: null,
    echo: false,
    sampling: { ...plain, seed: '1' },
    priority: 'interactive',
  }
}
