// One run of the model over one prompt. `computed` chases `target`: there is no prefill or decode phase, only how far
// behind it is. After a preemption `computed` is 0 again and the same tokens are computed once more.

import type { RowSampling } from './sampling.ts'

const NONE: readonly number[] = []

export interface SequenceOptions {
  prompt: readonly number[]
  output_tokens_max: number
  output_tokens_min: number // before so many, none of stop_ids is drawn
  stop_ids: ReadonlySet<number> // each ends the sequence
  sampling: RowSampling
}

export class Sequence {
  readonly prompt_tokens: number
  readonly output_tokens_max: number
  readonly output_tokens_min: number
  readonly stop_ids: ReadonlySet<number>
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
    this.output_tokens_min = options.output_tokens_min
    this.stop_ids = options.stop_ids
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

  /** What the next token may not be. */
  get banned_ids(): readonly number[] {
    return this.output_tokens < this.output_tokens_min ? [...this.stop_ids] : NONE
  }
}
