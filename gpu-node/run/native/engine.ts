// The boundary to native code, and the only importer of the addon. One call is one step: flat typed arrays in, sampled
// tokens out, on the engine's own thread. Arrays of a batch must not change until its step has resolved.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { LOGPROBS_MAX } from '../../../contract/internal/generation.ts'
import { ADAPTERS_MAX } from '../../../contract/internal/sync.ts'
import { ADAPTER_RANK_MAX, DIMENSION_MAX, HEAD_SIZE_MAX, HEADS_MAX, LAYERS_MAX } from './architecture/bounds.ts'
import { BLOCK_TOKENS } from './block-pool.ts'
import { ROW_LAYOUT } from './row-table.ts'

/** So many steps are in the engine's hands at once, at most: one runs, one waits behind it. */
export const STEPS_UNDER_WAY_MAX = 2

/** A size that is 0 is of something that the architecture does not have. */
export interface ModelShape {
  architecture: string // as native/models/registry.cpp knows it
  vocab_size: number
  hidden_size: number
  intermediate_size: number
  layers: number
  heads: number
  kv_heads: number
  head_size: number
  context_tokens: number
  rope_theta: number
  rope_scaling_factor: number // frequencies are divided by it; 1 = none
  /** Where this is not 0 only those frequencies are that make few turns in so many tokens: all below low_turns, part of those below high_turns. */
  rope_original_tokens: number
  rope_low_turns: number
  rope_high_turns: number
  rms_norm_eps: number
  layer_norm_eps: number
  exact_gelu: boolean // by the error function; else by the tanh that approximates it
  attention_bias: boolean // of a llama's four products there; gpt_bigcode always has them
  mlp_bias: boolean // of its three
  tied_embeddings: boolean
}

/** A tensor, and where its bytes lie. */
export interface FileTensor {
  name: string // Hugging Face's
  path: string
  dtype: 'F16' | 'BF16' | 'F32'
  offset: number // bytes from the start of the file
  bytes: number
  shape: number[]
}

/** A tensor with its place in the model: which rows of which slot it is. */
export interface TensorSource extends FileTensor {
  slot: string // as native/models/ calls it: layer.3.qkv
  first_row: number
}

/** What an adapter adds to neighbouring rows of a slot: scale * A * B of its own slots SLOT.FIRST_OUTPUT.a (rank, inputs) and .b (outputs, rank). */
export interface AdapterPart {
  slot: string
  first_output: number
  outputs: number
  rank: number
  scale: number
}

/** A LoRA adapter: its parts, those of one slot in the order of their rows, and where their numbers lie. */
export interface AdapterSource {
  parts: AdapterPart[]
  tensors: TensorSource[]
}

export interface EngineOptions {
  device: string // auto, cpu, cuda:N, or cuda:N,M,… by ranges of layers, tensor_parallel devices a range
  threads: number // 0 = physical cores
  blocks: number // of BLOCK_TOKENS each; 0 = every sequence at full context, or what the memory holds of that
  batch_tokens_max: number
  sequences_max: number
  isa?: 'auto' | 'avx512' | 'avx2' | 'scalar'
  /** Of the layers' matrices: fp8 are half the bytes, rounded when they are loaded. fp16 without it. */
  weights?: 'fp16' | 'fp8'
  /** So many devices compute every layer together, each with some heads and columns of it. 1 without it. */
  tensor_parallel?: number
  /** Of keys and values: fp8 are half the bytes, so that the memory holds nearly twice the blocks. fp16 without it. */
  kv_cache?: 'fp16' | 'fp8'
  /** A sequence's adapter is its place here. */
  adapters?: readonly AdapterSource[]
}

export interface StepBatch {
  tokens: Int32Array // (tokens) of all scheduled sequences, one after the other; ids, or what referenceTo gives
  token_counts: Int32Array // (sequences)
  starts: Int32Array // (sequences) position of its first scheduled token
  block_counts: Int32Array // (sequences)
  block_tables: Int32Array // (sum of block_counts)
  adapters: Int32Array // (sequences) the place of its adapter, or NO_ADAPTER; empty where none has one
  rows: Uint8Array // (rows) what is drawn, as a RowTable packs it
  history: Int32Array // row after row, prompt then output, of which the last may be a reference
  bias_ids: Int32Array // row after row
  bias_values: Float32Array // (bias_ids)
  banned_ids: Int32Array // row after row
  mask_words: Int32Array // row after row, for those that have a mask; a bit a token, the lowest first
  want_logits: boolean // for tests
}

/** In place of a sequence's adapter, where the model is to compute it as it is. */
export const NO_ADAPTER = -1

/** In place of the token of a row that drew none, for want of finite logits or of memory: its sequence is broken, and no other. */
export const NOTHING_DRAWN = -1

/** Stands for the token that this row of the step before draws, in a step that is submitted before that one has resolved. */
export function referenceTo(row: number): number {
  return -1 - row
}

export interface StepResult {
  tokens: Int32Array // (rows) or NOTHING_DRAWN
  logprobs: Float32Array // (rows)
  top_ids: Int32Array
  top_logprobs: Float32Array
  logits: Float32Array | null // (rows, vocab_size)
  seconds: number
}

export interface EngineInfo {
  device: string
  /** Names what decides the bits of all it computes: an instruction set, or a GPU. None of what computes nothing. */
  arithmetic?: string
  /** Of the weights as they are computed with, however they lie in files. */
  weights_digest?: string
  /** The same of each adapter. */
  adapter_digests?: string[]
  weight_bytes: number
  kv_bytes: number
  parameters: number
  blocks: number
}

/** The scheduler drives this. Steps run in the order of their submission. Failures are `Error`s with a `code`; after one the engine is of no more use. */
export interface Engine {
  readonly info: EngineInfo
  step(batch: StepBatch): Promise<StepResult>
  close(): Promise<void>
}

/** The bytes of each token, for grammars. */
export type NativeVocabulary = object

/** A grammar over bytes, as native/grammar/grammar.h has it. A state is a number, and −1 where a text is no longer one. */
export interface NativeGrammar {
  start(): number
  advance(state: number, vocabulary: NativeVocabulary, token: number): number
  accepts(state: number): boolean
  mask(state: number, vocabulary: NativeVocabulary, words: Int32Array): void
  /** Whether any token but these may come next, found without a mask. */
  goesOn(state: number, vocabulary: NativeVocabulary, except: Int32Array): boolean
  /** Whether a mask is remembered, and costs nothing. */
  hasMask(state: number, vocabulary: NativeVocabulary): boolean
  /** The bytes that must come next, as long as nothing else may. */
  forced(state: number, bytes_max: number): Uint8Array
  /** True where it forgot its states, for they took more memory; they are valid no longer then. */
  trim(bytes_max: number): boolean
  bytes(): number
}

type Constants = Readonly<Record<string, number | Readonly<Record<string, number>>>>

interface Addon {
  NativeVocabulary: new (bytes: Uint8Array, ends: Int32Array, number: number) => NativeVocabulary
  NativeGrammar: new (program: Int32Array) => NativeGrammar
  constants: Constants
  NativeEngine: {
    load(
      shape: ModelShape,
      tensors: TensorSource[],
      options: EngineOptions,
      on_progress: (bytes_done: number, bytes_total: number) => void,
    ): Promise<Engine>
  }
}

/** These numbers stand in both languages. The addon exports its own under the same names. */
export const CONSTANTS: Constants = {
  block_tokens: BLOCK_TOKENS,
  alternatives_max: LOGPROBS_MAX,
  unfinished_steps_max: STEPS_UNDER_WAY_MAX,
  dimension_max: DIMENSION_MAX,
  layers_max: LAYERS_MAX,
  heads_max: HEADS_MAX,
  head_size_max: HEAD_SIZE_MAX,
  adapter_rank_max: ADAPTER_RANK_MAX,
  adapters_max: ADAPTERS_MAX,
  row: ROW_LAYOUT,
}

/** Throws where the addon was built with other numbers than these: it would read batches as what they are not. */
export function requireSameConstants(exported: Constants): void {
  const theirs = flat(exported)
  const ours = flat(CONSTANTS)
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    if (ours.get(name) === theirs.get(name)) continue
    const message = `the addon has ${name} ${theirs.get(name)} where ${ours.get(name)} is expected; build it anew`
    throw Object.assign(new Error(message), { code: 'addon_mismatch' })
  }
}

function flat(constants: Constants): Map<string, number> {
  return new Map(
    Object.entries(constants).flatMap(([name, value]): [string, number][] =>
      typeof value === 'number' ? [[name, value]] : [...flat(value)].map(([key, inner]) => [`${name}.${key}`, inner]),
    ),
  )
}

export const ADDON_PATH = fileURLToPath(new URL('../../../native/build/ziya.node', import.meta.url))

/** The product's addon, or another build of it. */
export function openAddon(path = ADDON_PATH): Addon {
  const addon = createRequire(import.meta.url)(path) as Addon
  requireSameConstants(addon.constants)
  return addon
}

export async function loadEngine(
  shape: ModelShape,
  tensors: TensorSource[],
  options: EngineOptions,
  on_progress: (bytes_done: number, bytes_total: number) => void,
): Promise<Engine> {
  return openAddon().NativeEngine.load(shape, tensors, options, on_progress)
}
