// Writes safetensors files and small model folders, good and bad, for tests.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { tokenizerModel } from './tokenizer-model.ts'

export interface HeaderEntry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

/** A header and so many bytes of zeros. */
export function safetensorsBytes(header: unknown, data_bytes: number): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, Buffer.alloc(data_bytes)])
}

/** Tensors with their own bytes. */
export function safetensorsFile(tensors: Record<string, { dtype: string; shape: number[]; data: Buffer }>): Buffer {
  let at = 0
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, data }]): [string, HeaderEntry] => {
      at += data.length
      return [name, { dtype, shape, data_offsets: [at - data.length, at] }]
    }),
  )
  return Buffer.concat([safetensorsBytes(header, 0), ...Object.values(tensors).map(({ data }) => data)])
}

/** Tensors one after the other, as writers lay them out. */
export function layOut(shapes: Record<string, number[]>): { header: Record<string, HeaderEntry>; data_bytes: number } {
  let at = 0
  const header = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]): [string, HeaderEntry] => {
      const start = at
      at += 2 * shape.reduce((product, length) => product * length, 1)
      return [name, { dtype: 'F16', shape, data_offsets: [start, at] }]
    }),
  )
  return { header, data_bytes: at }
}

export const tinyConfig = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 260,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  eos_token_id: 2,
}

export const tinyTensors: Record<string, number[]> = {
  'model.embed_tokens.weight': [260, 8],
  'model.layers.0.input_layernorm.weight': [8],
  'model.layers.0.self_attn.q_proj.weight': [8, 8],
  'model.layers.0.self_attn.k_proj.weight': [4, 8],
  'model.layers.0.self_attn.v_proj.weight': [4, 8],
  'model.layers.0.self_attn.o_proj.weight': [8, 8],
  'model.layers.0.post_attention_layernorm.weight': [8],
  'model.layers.0.mlp.gate_proj.weight': [12, 8],
  'model.layers.0.mlp.up_proj.weight': [12, 8],
  'model.layers.0.mlp.down_proj.weight': [8, 12],
  'model.norm.weight': [8],
  'lm_head.weight': [260, 8],
}

/** A folder with the named files, gone when the test ends. */
export function folderWith(files: Record<string, string | Buffer>): string {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-model-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  return folder
}

/** A whole model folder of 260 pieces; what is given replaces or adds files, null removes one. */
export function modelFolder(files: Record<string, string | Buffer | null> = {}): string {
  const { header, data_bytes } = layOut(tinyTensors)
  const all = {
    'config.json': JSON.stringify(tinyConfig),
    'generation_config.json': JSON.stringify({ eos_token_id: [2, 7] }),
    'tokenizer.model': tokenizerModel({ pieces: [{ text: 'a', score: -1 }] }),
    'model.safetensors': safetensorsBytes(header, data_bytes),
    ...files,
  }
  const kept = Object.entries(all).filter((entry): entry is [string, string | Buffer] => entry[1] !== null)
  return folderWith(Object.fromEntries(kept))
}
