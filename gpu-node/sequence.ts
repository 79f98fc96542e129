// One run of the model over one prompt. `computed` chases `target`: there is no prefill or decode phase, only how far
// behind it is. After a preemption `computed` is 0 again and the same tokens are computed once more.

import type { RowSampling } from './sampling.ts'

export interface SequenceOptions {
  prompt: readonly number[]
  output_tokens_max: number
  eos_ids: ReadonlySet<number>
  sampling: RowSampling
}

export class Sequence {
  readonly prompt_tokens: number
  readonly output_tokens_max: number
  readonly eos_ids: ReadonlySet<number>
  readonly sampling: RowSampling
  readonly tokens: number[] // prompt, then output
  state: 'new' | 'waiting' | 'running' | 'finished' = 'new'
  arrival = 0 // order of submission; a smaller one is older
  paused = false // its reader is slow: keeps its blocks, gets no tokens
  computed = 0 // leading tokens whose KV is in `blocks`
  blocks: number[] = []

  constructor(options: SequenceOptions) {
    this.prompt_tokens = options.prompt.length
    this.output_tokens_max = options.output_tokens_max
    this.eos_ids = options.eos_ids
    this.sampling = options.sampling
    this.tokens = [...options.prompt]
  }

  get target(): number {
    return this.tokens.length
  }

  get remaining(): number {
    return this.target - this.computed
  }

  get output_tokens(): number {
    return this.tokens.length - this.prompt_tokens
  }
}
