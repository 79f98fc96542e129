// Random weights in the Llama architecture, once as a Hugging Face folder and once as GGUF, so that two engines can be
// timed on the same model without a download. Its text is noise; its speed is a real model's.
//   node bench/peers/random-llama.ts 120m|1.1b FOLDER

import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytePiece } from '../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'
import { type GgufTensor, type GgufValue, ggufHeader, ggufTensorBytes, TYPE_F16, TYPE_F32 } from './gguf.ts'

export const SIZES = {
  '120m': { hidden: 768, layers: 12, heads: 12, kv_heads: 4, ffn: 2048 },
  '1.1b': { hidden: 2048, layers: 22, heads: 32, kv_heads: 4, ffn: 5632 },
}
export type Size = keyof typeof SIZES
type Shape = (typeof SIZES)[Size]

const VOCAB = 32_000
const CONTEXT = 2048
const DEVIATION = 0.02
const SEED = 1

interface Tensor {
  hf_name: string
  gguf_name: string
  shape: number[] // (out, in) of a matrix
  rotary_heads?: number // of a matrix whose outputs are rotated
}

/** The folder of a size under `root`, with model.gguf in it; made when it is not there yet. */
export function randomLlama(size: Size, root: string, context = CONTEXT): string {
  const folder = join(root, `random-llama-${size}-seed${SEED}${context === CONTEXT ? '' : `-${context}`}`)
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.unfinished`
  mkdirSync(unfinished, { recursive: true })
  writeFileSync(join(unfinished, 'config.json'), JSON.stringify(hfConfig(SIZES[size], context), null, 1))
  writeFileSync(join(unfinished, 'tokenizer.json'), tokenizerJson())
  writeWeights(SIZES[size], context, unfinished)
  renameSync(unfinished, folder)
  return folder
}

function writeWeights(shape: Shape, context: number, folder: string): void {
  const tensors = [...tensorsOf(shape)]
  const hf = openSync(join(folder, 'model.safetensors'), 'w')
  const gguf = openSync(join(folder, 'model.gguf'), 'w')
  writeFileSync(hf, safetensorsHeader(tensors))
  writeFileSync(gguf, ggufHeader(ggufMetadata(shape, context), tensors.map(ggufTensor)))
  const random = normals(SEED)
  for (const tensor of tensors) {
    const values = tensor.shape.length === 1 ? ones(tensor.shape[0]!) : random(elements(tensor))
    writeFileSync(hf, values)
    writeFileSync(gguf, ggufTensorBytes(tensor.shape.length === 1 ? floats(tensor) : rotaryPairs(tensor, values)))
  }
  closeSync(hf)
  closeSync(gguf)
}

function* tensorsOf({ hidden, layers, heads, kv_heads, ffn }: Shape): Generator<Tensor> {
  const kv = (hidden / heads) * kv_heads
  yield { hf_name: 'model.embed_tokens.weight', gguf_name: 'token_embd.weight', shape: [VOCAB, hidden] }
  for (let layer = 0; layer < layers; layer++) {
    const tensor = (hf: string, gguf: string, shape: number[], rotary_heads?: number): Tensor => ({
      hf_name: `model.layers.${layer}.${hf}.weight`,
      gguf_name: `blk.${layer}.${gguf}.weight`,
      shape,
      ...(rotary_heads && { rotary_heads }),
    })
    yield tensor('input_layernorm', 'attn_norm', [hidden])
    yield tensor('self_attn.q_proj', 'attn_q', [hidden, hidden], heads)
    yield tensor('self_attn.k_proj', 'attn_k', [kv, hidden], kv_heads)
    yield tensor('self_attn.v_proj', 'attn_v', [kv, hidden])
    yield tensor('self_attn.o_proj', 'attn_output', [hidden, hidden])
    yield tensor('post_attention_layernorm', 'ffn_norm', [hidden])
    yield tensor('mlp.gate_proj', 'ffn_gate', [ffn, hidden])
    yield tensor('mlp.up_proj', 'ffn_up', [ffn, hidden])
    yield tensor('mlp.down_proj', 'ffn_down', [hidden, ffn])
  }
  yield { hf_name: 'model.norm.weight', gguf_name: 'output_norm.weight', shape: [hidden] }
  yield { hf_name: 'lm_head.weight', gguf_name: 'output.weight', shape: [VOCAB, hidden] }
}

function elements({ shape }: Tensor): number {
  return shape.reduce((product, length) => product * length, 1)
}

/** fp16 values of a normal distribution: 65,536 equally likely ones, in the order of a xorshift generator. */
function normals(seed: number): (count: number) => Uint16Array {
  const table = new Uint16Array(65_536)
  const halves = new Float16Array(table.buffer)
  for (let i = 0; i < 65_536; i++) halves[i] = DEVIATION * quantile((i + 0.5) / 65_536)
  let state = seed
  return (count) => {
    const values = new Uint16Array(count)
    for (let i = 0; i < count; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      values[i] = table[state >>> 16]!
    }
    return values
  }
}

/** The inverse of the standard normal distribution: Newton's method on its integral, whose density is known. */
function quantile(p: number): number {
  if (p > 0.5) return -quantile(1 - p)
  let x = -Math.sqrt(-2 * Math.log(p)) // a bound below, from which the convex left tail converges
  for (let i = 0; i < 60; i++) x -= (cumulative(x) - p) / (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI))
  return x
}

/** For x ≤ 0, by the series x + x³/3 + x⁵/15 + … */
function cumulative(x: number): number {
  let [term, sum] = [x, x]
  for (let n = 3; Math.abs(term) > 1e-17; n += 2) {
    term *= (x * x) / n
    sum += term
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}

function ones(count: number): Uint16Array {
  return new Uint16Array(new Float16Array(count).fill(1).buffer)
}

/** Norms are float32 in GGUF. */
function floats({ shape }: Tensor): Float32Array {
  return new Float32Array(shape[0]!).fill(1)
}

/** GGUF keeps the two halves of a rotary pair side by side, Hugging Face half a head apart. */
function rotaryPairs({ shape, rotary_heads }: Tensor, values: Uint16Array): Uint16Array {
  if (!rotary_heads) return values
  const [outputs, inputs] = shape as [number, number]
  const head = outputs / rotary_heads
  const result = new Uint16Array(values.length)
  for (let row = 0; row < outputs; row++) {
    const [first_row, i] = [row - (row % head), row % head]
    const to = first_row + (i < head / 2 ? 2 * i : 2 * (i - head / 2) + 1)
    result.set(values.subarray(row * inputs, (row + 1) * inputs), to * inputs)
  }
  return result
}

const BYTES = Array.from({ length: 256 }, (_, byte) => bytePiece(byte))
const WORDS = Array.from({ length: VOCAB - 259 }, (_, i) => `▁w${i}`)
const PIECES = ['<unk>', '<s>', '</s>', ...BYTES, ...WORDS]

/** The same pieces as in the GGUF file. Nothing merges: the contenders are given ids. */
function tokenizerJson(): string {
  const special = (id: number) => ({ id, content: PIECES[id], special: true, normalized: false })
  return JSON.stringify({
    version: '1.0',
    added_tokens: [0, 1, 2].map(special),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: PIECES[0],
      byte_fallback: true,
      vocab: Object.fromEntries(PIECES.map((text, id) => [text, id])),
      merges: [],
    },
  })
}

function hfConfig({ hidden, layers, heads, kv_heads, ffn }: Shape, context: number) {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kv_heads,
    vocab_size: VOCAB,
    max_position_embeddings: context,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    torch_dtype: 'float16',
    bos_token_id: 1,
    eos_token_id: 2,
  }
}

function safetensorsHeader(tensors: readonly Tensor[]): Buffer {
  let at = 0
  const entries = tensors.map((tensor) => {
    const begin = at
    at += 2 * elements(tensor)
    return [tensor.hf_name, { dtype: 'F16', shape: tensor.shape, data_offsets: [begin, at] }]
  })
  const json = JSON.stringify(Object.fromEntries(entries))
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text])
}

function ggufTensor({ gguf_name, shape }: Tensor): GgufTensor {
  return { name: gguf_name, shape, type: shape.length === 1 ? TYPE_F32 : TYPE_F16 }
}

function ggufMetadata({ hidden, layers, heads, kv_heads, ffn }: Shape, context: number): Record<string, GgufValue> {
  return {
    'general.architecture': 'llama',
    'general.file_type': { u32: 1 }, // mostly F16
    'llama.context_length': { u32: context },
    'llama.embedding_length': { u32: hidden },
    'llama.block_count': { u32: layers },
    'llama.feed_forward_length': { u32: ffn },
    'llama.attention.head_count': { u32: heads },
    'llama.attention.head_count_kv': { u32: kv_heads },
    'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
    'llama.rope.dimension_count': { u32: hidden / heads },
    'llama.rope.freq_base': { f32: 10_000 },
    'llama.vocab_size': { u32: VOCAB },
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': PIECES,
    'tokenizer.ggml.scores': { f32s: [...Array(259).fill(0), ...WORDS.map((_, i) => -i)] },
    'tokenizer.ggml.token_type': { i32s: [2, 3, 3, ...BYTES.map(() => 6), ...WORDS.map(() => 1)] },
    'tokenizer.ggml.bos_token_id': { u32: 1 },
    'tokenizer.ggml.eos_token_id': { u32: 2 },
    'tokenizer.ggml.unknown_token_id': { u32: 0 },
  }
}

if (import.meta.main) {
  const [size, root] = process.argv.slice(2)
  if (!size || !(size in SIZES) || !root) throw new Error('usage: random-llama.ts 120m|1.1b FOLDER')
  console.log(randomLlama(size as Size, root))
}
