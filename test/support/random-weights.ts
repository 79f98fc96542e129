// The random weights of test/vectors/make_llama_vectors.py and make_gpt_bigcode_vectors.py, remade: value i of a tensor is a hash of i and
// its name. And the folder of such a model, in each of the formats that are published.

import type { Architecture } from '../../gpu-node/run/native/architecture/architecture.ts'
import type { ModelConfig } from '../../gpu-node/run/native/load/model-config.ts'
import { safetensorsFile } from './safetensors.ts'
import { tokenizerModel } from './tokenizer-model.ts'
import { type TorchTensor, torchFile } from './torch-file.ts'

export interface RandomFolder {
  name: string // seeds the weights
  format: 'safetensors' | 'bin'
  dtype: TorchTensor['dtype']
  shards: number
  config: { vocab_size: number }
  architecture: Architecture
  shape: ModelConfig['shape']
}

/** File name → content. */
export function modelFiles({
  name,
  format,
  dtype,
  shards,
  config,
  architecture,
  shape,
}: RandomFolder): Record<string, string | Buffer> {
  const tensors = architecture
    .tensorsOf(shape)
    .map(({ name: tensor, shape: size }): [string, TorchTensor] => [
      tensor,
      { dtype, shape: size, data: encode(tensorValues(`${name}:${tensor}`, size), dtype) },
    ])
  const per_shard = Math.ceil(tensors.length / shards)
  const parts = Array.from({ length: shards }, (_, i) => tensors.slice(i * per_shard, (i + 1) * per_shard))
  const [stem, extension] = format === 'bin' ? ['pytorch_model', 'bin'] : ['model', 'safetensors']
  const fileName = (i: number) => (shards === 1 ? `${stem}.${extension}` : `${stem}-${i + 1}-of-${shards}.${extension}`)
  const write = format === 'bin' ? torchFile : safetensorsFile
  const weight_map = Object.fromEntries(parts.flatMap((part, i) => part.map(([tensor]) => [tensor, fileName(i)])))
  const pieces = Array.from({ length: config.vocab_size - 259 }, (_, i) => ({ text: `\u2581${i}`, score: -i }))
  return {
    'config.json': JSON.stringify(config),
    'tokenizer.model': tokenizerModel({ pieces }),
    ...Object.fromEntries(parts.map((part, i) => [fileName(i), write(Object.fromEntries(part))])),
    ...(shards === 1 ? {} : { [`${stem}.${extension}.index.json`]: JSON.stringify({ weight_map }) }),
  }
}

/** Those of one tensor, by its name. */
export function tensorValues(key: string, shape: number[]): Float32Array {
  const raw = hashes(
    shape.reduce((product, length) => product * length, 1),
    fnv1a(key),
  )
  if (key.endsWith('.bias')) return Float32Array.from(raw, (bits) => ((bits % 63) - 31) / 512)
  if (shape.length === 1) return Float32Array.from(raw, (bits) => 1 + ((bits % 63) - 31) / 128)
  const scale = 2 ** -Math.round(Math.log2(73.6 * Math.sqrt(shape[1]!)))
  return Float32Array.from(raw, (bits) => ((bits % 255) - 127) * scale)
}

function hashes(count: number, key: number): Uint32Array {
  const all = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    let x = (Math.imul(i, 0x9e3779b9) + key) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
    all[i] = x ^ (x >>> 16)
  }
  return all
}

function fnv1a(text: string): number {
  return Buffer.from(text).reduce((key, byte) => Math.imul(key ^ byte, 0x01000193) >>> 0, 0x811c9dc5)
}

export function encode(values: Float32Array, dtype: TorchTensor['dtype']): Buffer {
  if (dtype === 'F32') return Buffer.from(values.buffer)
  if (dtype === 'F16') return Buffer.from(new Float16Array(values).buffer)
  return Buffer.from(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer) // exact
}
