// Which tensors a LLaMA has, and that a folder has exactly these, each in its shape.

import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import * as z from 'zod'
import type { ModelShape, TensorSource } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import { readSmallFile } from './model-file.ts'
import { readSafetensors } from './safetensors.ts'
import { readTorchFile } from './torch-file.ts'

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

// In the order they are looked for. safetensors first: where a folder has both, they hold the same.
const FORMATS = [
  { whole: 'model.safetensors', read: readSafetensors },
  { whole: 'pytorch_model.bin', read: readTorchFile },
]

/** Every tensor the engine needs, from the one file of weights or from the shards that its index names. */
export function findWeights(folder: string, shape: ModelShape): TensorSource[] {
  const found = new Map<string, TensorSource>()
  const { files, read } = weightFiles(folder)
  for (const file of files) {
    for (const tensor of read(join(folder, file))) {
      if (found.has(tensor.name)) {
        throw new ModelError('weights_duplicate_tensor', `${tensor.name} is in two files of ${folder}`)
      }
      found.set(tensor.name, tensor)
    }
  }
  refuseUnknown(found, shape)
  return [...expectedTensors(shape)].map(([name, expected]) => checked(found.get(name), name, expected))
}

function weightFiles(folder: string): { files: string[]; read: (path: string) => TensorSource[] } {
  for (const { whole, read } of FORMATS) {
    if (existsSync(join(folder, whole))) return { files: [whole], read }
    const index = `${whole}.index.json`
    if (existsSync(join(folder, index))) return { files: shardsOf(folder, index), read }
  }
  const names = FORMATS.map(({ whole }) => whole).join(' nor ')
  throw new ModelError('model_file_missing', `${folder} has neither ${names}, nor an index of one`)
}

function shardsOf(folder: string, index: string): string[] {
  const files = [...new Set(Object.values(readIndex(join(folder, index))))].sort()
  for (const file of files) {
    if (basename(file) !== file)
      throw new ModelError('weights_index_invalid', `${index} names ${file}, which is not a file beside it`)
    if (!existsSync(join(folder, file)))
      throw new ModelError('model_file_missing', `${folder} has no ${file}, which ${index} names`)
  }
  return files
}

function readIndex(path: string): Record<string, string> {
  const text = readSmallFile(path).toString('utf8')
  try {
    return indexSchema.parse(JSON.parse(text)).weight_map
  } catch {
    throw new ModelError('weights_index_invalid', `${path} is not an index of weights`)
  }
}

/** Names and shapes, in the order of the network. */
export function expectedTensors(shape: ModelShape): Map<string, number[]> {
  const { hidden_size, intermediate_size, vocab_size } = shape
  const query_size = shape.heads * shape.head_size
  const kv_size = shape.kv_heads * shape.head_size
  const layer: [string, number[]][] = [
    ['input_layernorm', [hidden_size]],
    ['self_attn.q_proj', [query_size, hidden_size]],
    ['self_attn.k_proj', [kv_size, hidden_size]],
    ['self_attn.v_proj', [kv_size, hidden_size]],
    ['self_attn.o_proj', [hidden_size, query_size]],
    ['post_attention_layernorm', [hidden_size]],
    ['mlp.gate_proj', [intermediate_size, hidden_size]],
    ['mlp.up_proj', [intermediate_size, hidden_size]],
    ['mlp.down_proj', [hidden_size, intermediate_size]],
  ]
  return new Map<string, number[]>([
    ['model.embed_tokens.weight', [vocab_size, hidden_size]],
    ...Array.from({ length: shape.layers }, (_, i) =>
      layer.map(([name, size]): [string, number[]] => [`model.layers.${i}.${name}.weight`, size]),
    ).flat(),
    ['model.norm.weight', [hidden_size]],
    ...(shape.tied_embeddings ? [] : [['lm_head.weight', [vocab_size, hidden_size]] as [string, number[]]]),
  ])
}

function refuseUnknown(found: Map<string, TensorSource>, shape: ModelShape): void {
  const expected = expectedTensors(shape)
  for (const name of found.keys()) {
    const is_harmless = name.endsWith('.rotary_emb.inv_freq') || (shape.tied_embeddings && name === 'lm_head.weight')
    if (!expected.has(name) && !is_harmless) {
      throw new ModelError('weights_unknown_tensor', `${name} is not a tensor of a LLaMA of this shape`)
    }
  }
}

function checked(tensor: TensorSource | undefined, name: string, expected: number[]): TensorSource {
  if (!tensor) throw new ModelError('weights_missing_tensor', `the weights lack ${name}`)
  if (tensor.shape.join() !== expected.join()) {
    throw new ModelError('weights_shape', `${name} is [${tensor.shape}], not [${expected}]`)
  }
  return tensor
}
