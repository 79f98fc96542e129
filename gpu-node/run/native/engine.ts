// The boundary to native code, and the only importer of the addon. One call is one step: flat typed arrays in, sampled
// tokens out, on the engine's own thread. Arrays of a batch must not change until its step has resolved.

import { createRequire } from 'node:module'

export interface ModelShape {
  vocab_size: number
  hidden_size: number
  intermediate_size: number
  layers: number
  heads: number
  kv_heads: number
  head_size: number
  context_tokens: number
  rope_theta: number
  rope_scaling_factor: number // linear; 1 = none
  rms_norm_eps: number
  tied_embeddings: boolean
}

/** Where the bytes of one tensor lie. */
export interface TensorSource {
  name: string // Hugging Face's
  path: string
  dtype: 'F16' | 'BF16' | 'F32'
  offset: number // bytes from the start of the file
  bytes: number
  shape: number[]
}

export interface EngineOptions {
  device: string // auto, cpu, cuda:N, or cuda:N,M,… by ranges of layers
  threads: number // 0 = physical cores
  blocks: number // of BLOCK_TOKENS each; 0 = every sequence at full context, or what the memory holds of that
  batch_tokens_max: number
  sequences_max: number
  isa?: 'auto' | 'avx512' | 'avx2' | 'scalar'
}

export interface StepBatch {
  tokens: Int32Array // (tokens) of all scheduled sequences, one after the other; ids, or what referenceTo gives
  token_counts: Int32Array // (sequences)
  starts: Int32Array // (sequences) position of its first scheduled token
  block_counts: Int32Array // (sequences)
  block_tables: Int32Array // (sum of block_counts)
  rows: Int32Array // (rows) indexes into `tokens` whose logits are sampled
  temperature: Float32Array // (rows) as are all that follow, unless said otherwise
  top_p: Float32Array
  min_p: Float32Array
  repetition_penalty: Float32Array
  frequency_penalty: Float32Array
  presence_penalty: Float32Array
  top_k: Int32Array // 0 = off
  seeds: BigUint64Array
  counters: Int32Array // index of the output token being drawn
  history: Int32Array // (sum of history_counts) prompt then output, of which the last may be a reference
  history_counts: Int32Array // 0 where no penalty is set
  output_counts: Int32Array // how many at the end of its history are output
  bias_counts: Int32Array
  bias_ids: Int32Array // (sum of bias_counts)
  bias_values: Float32Array // (sum of bias_counts)
  banned_counts: Int32Array
  banned_ids: Int32Array // (sum of banned_counts)
  logprobs: Int32Array // how many alternatives; −1 = none
  want_logits: boolean // for tests
}

/** Stands for the token that this row of the step before draws, in a step that is submitted before that one has resolved. */
export function referenceTo(row: number): number {
  return -1 - row
}

export interface StepResult {
  tokens: Int32Array // (rows)
  logprobs: Float32Array // (rows)
  top_ids: Int32Array
  top_logprobs: Float32Array
  logits: Float32Array | null // (rows, vocab_size)
  seconds: number
}

export interface EngineInfo {
  device: string
  weight_bytes: number
  kv_bytes: number
  parameters: number
  blocks: number
}

/** What the scheduler drives. Steps run in the order of their submission. Failures are `Error`s with a `code`; after one the engine is of no more use. */
export interface Engine {
  readonly info: EngineInfo
  step(batch: StepBatch): Promise<StepResult>
  close(): Promise<void>
}

interface Addon {
  NativeEngine: {
    load(
      shape: ModelShape,
      tensors: TensorSource[],
      options: EngineOptions,
      on_progress: (bytes_done: number, bytes_total: number) => void,
    ): Promise<Engine>
  }
}

export function loadEngine(
  shape: ModelShape,
  tensors: TensorSource[],
  options: EngineOptions,
  on_progress: (bytes_done: number, bytes_total: number) => void,
): Promise<Engine> {
  const addon = createRequire(import.meta.url)('../../../native/build/ziya.node') as Addon
  return addon.NativeEngine.load(shape, tensors, options, on_progress)
}
