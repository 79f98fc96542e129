// Which tensors a LLaMA has, and that a folder has exactly these, each in its shape.

import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import type { ModelShape, TensorSource } from '../engine.ts'
import { ModelError } from './model-error.ts'
import { readSafetensors } from './safetensors.ts'

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

/** Every tensor the engine needs, from `model.safetensors` or from the shards its index names. */
export function findWeights(folder: string, shape: ModelShape): TensorSource[] {
  const found = new Map<string, TensorSource>()
  for (const file of weightFiles(folder)) {
    for (const tensor of readSafetensors(join(folder, file))) {
      if (found.has(tensor.name)) {
        throw new ModelError('weights_duplicate_tensor', `${tensor.name} is in two files of ${folder}`)
      }
      found.set(tensor.name, tensor)
    }
  }
  refuseUnknown(found, shape)
  return [...expectedTensors(shape)].map(([name, expected]) => checked(found.get(name), name, expected))
}

function weightFiles(folder: string): string[] {
  if (existsSync(join(folder, 'model.safetensors'))) return ['model.safetensors']
  const index_path = join(folder, 'model.safetensors.index.json')
  if (!existsSync(index_path))
    throw new ModelError('model_file_missing', `${folder} has no model.safetensors, nor an index of one`)
  const files = [...new Set(Object.values(readIndex(index_path)))].sort()
  for (const file of files) {
    if (basename(file) !== file)
      throw new ModelError('weights_index_invalid', `${index_path} names ${file}, which is not a file beside it`)
    if (!existsSync(join(folder, file)))
      throw new ModelError('model_file_missing', `${folder} has no ${file}, which its index names`)
  }
  return files
}

function readIndex(path: string): Record<string, string> {
  try {
    return indexSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).weight_map
  } catch {
    throw new ModelError('weights_index_invalid', `${path} is not an index of safetensors`)
  }
}

function expectedTensors(shape: ModelShape): Map<string, number[]> {
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
