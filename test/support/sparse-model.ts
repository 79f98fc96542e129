// The folder of a model of 34B as it is published, whose weights are holes: files of 68 GB that take no room on a disk.

import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { llamaTokenizerModel } from './llama-vocabulary.ts'
import { folderWith, layOut, safetensorsBytes } from './safetensors.ts'

const HIDDEN = 8192
const INTERMEDIATE = 22_016
const KV = 1024
const VOCAB = 32_000
const LAYERS = 48
const SHARDS = 7

const config = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: VOCAB,
  hidden_size: HIDDEN,
  intermediate_size: INTERMEDIATE,
  num_hidden_layers: LAYERS,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  max_position_embeddings: 16_384,
  rope_theta: 1_000_000,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
}

const layer = (i: number): [string, number[]][] =>
  Object.entries({
    'input_layernorm.weight': [HIDDEN],
    'self_attn.q_proj.weight': [HIDDEN, HIDDEN],
    'self_attn.k_proj.weight': [KV, HIDDEN],
    'self_attn.v_proj.weight': [KV, HIDDEN],
    'self_attn.o_proj.weight': [HIDDEN, HIDDEN],
    'post_attention_layernorm.weight': [HIDDEN],
    'mlp.gate_proj.weight': [INTERMEDIATE, HIDDEN],
    'mlp.up_proj.weight': [INTERMEDIATE, HIDDEN],
    'mlp.down_proj.weight': [HIDDEN, INTERMEDIATE],
  }).map(([name, shape]) => [`model.layers.${i}.${name}`, shape])

/** Its folder, gone when the test ends; and how many bytes its weights have. */
export function sparse34b(): { folder: string; weight_bytes: number } {
  const folder = folderWith({ 'config.json': JSON.stringify(config), 'tokenizer.model': llamaTokenizerModel() })
  const tensors: [string, number[]][] = [
    ['model.embed_tokens.weight', [VOCAB, HIDDEN]],
    ...Array.from({ length: LAYERS }, (_, i) => layer(i)).flat(),
    ['model.norm.weight', [HIDDEN]],
    ['lm_head.weight', [VOCAB, HIDDEN]],
  ]
  const weight_map: Record<string, string> = {}
  let weight_bytes = 0
  const shard_length = Math.ceil(tensors.length / SHARDS)
  for (let shard = 0; shard < SHARDS; shard++) {
    const file = `model-${String(shard + 1).padStart(5, '0')}-of-${String(SHARDS).padStart(5, '0')}.safetensors`
    const own = Object.fromEntries(tensors.slice(shard * shard_length, (shard + 1) * shard_length))
    const { header, data_bytes } = layOut(own)
    writeSparse(join(folder, file), safetensorsBytes(header, 0), data_bytes)
    for (const name of Object.keys(own)) weight_map[name] = file
    weight_bytes += data_bytes
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }))
  return { folder, weight_bytes }
}

function writeSparse(path: string, head: Buffer, data_bytes: number): void {
  const file = openSync(path, 'w')
  writeSync(file, head)
  ftruncateSync(file, head.length + data_bytes)
  closeSync(file)
}
