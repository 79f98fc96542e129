// Llama, as transformers publishes it. Nothing that changes the numbers is guessed; a forgotten rope_theta would give plausible
// nonsense.

import * as z from 'zod'
import type { ModelShape } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import { type Architecture, dimension, parsed, type SlotTensor } from './architecture.ts'
import { DIMENSION_MAX, HEAD_SIZE_MAX, HEADS_MAX, LAYERS_MAX } from './bounds.ts'

const FACTOR_MAX = 1 << 20
const rope_theta = z.number().gt(1).nullish()

const configSchema = z.object({
  vocab_size: dimension,
  hidden_size: dimension,
  intermediate_size: dimension,
  num_hidden_layers: dimension.max(LAYERS_MAX),
  num_attention_heads: dimension.max(HEADS_MAX),
  num_key_value_heads: dimension.nullish(),
  head_dim: dimension.max(HEAD_SIZE_MAX).nullish(),
  max_position_embeddings: dimension,
  rope_theta,
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.looseObject({ rope_theta }).nullish(), // both of these in one, as transformers 5 writes them
  rms_norm_eps: z.number().positive().lt(1),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.literal('silu').nullish(),
  attention_bias: z.literal(false).nullish(),
  mlp_bias: z.literal(false).nullish(),
})

type Config = z.infer<typeof configSchema>

export const llama: Architecture = {
  config_name: 'LlamaForCausalLM',
  title: 'LLaMA',
  shapeOf: (config) => shapeOf(parsed(configSchema, config, 'config_invalid', 'config.json')),
  tensorsOf,
  isHarmless: (name, shape) =>
    name.endsWith('.rotary_emb.inv_freq') || (shape.tied_embeddings && name === 'lm_head.weight'),
}

function shapeOf(config: Config): ModelShape {
  const rope = ropeOf(config)
  if (rope.theta == null) {
    throw new ModelError(
      'config_missing_rope_theta',
      'config.json has no rope_theta; add the value the model was trained with',
    )
  }
  return {
    architecture: 'llama',
    vocab_size: config.vocab_size,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    layers: config.num_hidden_layers,
    ...headsOf(config),
    context_tokens: config.max_position_embeddings,
    rope_theta: rope.theta,
    rope_scaling_factor: ropeScalingFactor(rope.scaling),
    rms_norm_eps: config.rms_norm_eps,
    tied_embeddings: config.tie_word_embeddings ?? false,
  }
}

function headsOf({ num_attention_heads: heads, num_key_value_heads, head_dim, hidden_size }: Config) {
  const kv_heads = num_key_value_heads ?? heads
  const head_size = head_dim ?? hidden_size / heads
  const refuse = (what: string) => new ModelError('config_invalid', `config.json: ${what}`)
  if (heads % kv_heads !== 0) throw refuse(`${heads} heads over ${kv_heads} kv heads`)
  if (head_size % 2 !== 0 || head_size > HEAD_SIZE_MAX) throw refuse(`a head of ${head_size} values cannot be rotated`)
  if ((heads + 2 * kv_heads) * head_size > DIMENSION_MAX)
    throw refuse(`${heads} heads of ${head_size} values are too many`)
  return { heads, kv_heads, head_size }
}

function ropeOf(config: Config) {
  const { rope_parameters: both, rope_theta, rope_scaling } = config
  if (both == null) return { theta: rope_theta, scaling: rope_scaling ?? null }
  if (rope_theta != null && both.rope_theta != null && rope_theta !== both.rope_theta)
    throw new ModelError('config_invalid', `config.json: rope_theta is ${rope_theta} and ${both.rope_theta}`)
  return { theta: both.rope_theta ?? rope_theta, scaling: both }
}

function ropeScalingFactor(scaling: Record<string, unknown> | null): number {
  if (scaling === null) return 1
  const { rope_type, type, factor } = scaling
  const kind = rope_type ?? type // the older name
  if (kind === 'default') return 1
  if (kind === 'linear' && typeof factor === 'number' && factor >= 1 && factor <= FACTOR_MAX) return factor
  throw new ModelError(
    'config_unsupported_rope_scaling',
    `config.json: rope_scaling ${JSON.stringify(scaling)} is not supported, only linear with a factor`,
  )
}

function tensorsOf(shape: ModelShape): SlotTensor[] {
  const embedding = [shape.vocab_size, shape.hidden_size]
  return [
    { name: 'model.embed_tokens.weight', shape: embedding, slot: 'embedding', first_row: 0 },
    ...Array.from({ length: shape.layers }, (_, i) => layerTensors(shape, i)).flat(),
    { name: 'model.norm.weight', shape: [shape.hidden_size], slot: 'final_norm', first_row: 0 },
    ...(shape.tied_embeddings ? [] : [{ name: 'lm_head.weight', shape: embedding, slot: 'head', first_row: 0 }]),
  ]
}

function layerTensors(shape: ModelShape, i: number): SlotTensor[] {
  const { hidden_size, intermediate_size } = shape
  const query_size = shape.heads * shape.head_size
  const kv_size = shape.kv_heads * shape.head_size
  const tensor = (name: string, size: number[], slot: string, first_row = 0): SlotTensor => ({
    name: `model.layers.${i}.${name}.weight`,
    shape: size,
    slot: `layer.${i}.${slot}`,
    first_row,
  })
  return [
    tensor('input_layernorm', [hidden_size], 'attention_norm'),
    tensor('self_attn.q_proj', [query_size, hidden_size], 'qkv'),
    tensor('self_attn.k_proj', [kv_size, hidden_size], 'qkv', query_size),
    tensor('self_attn.v_proj', [kv_size, hidden_size], 'qkv', query_size + kv_size),
    tensor('self_attn.o_proj', [hidden_size, query_size], 'attention_out'),
    tensor('post_attention_layernorm', [hidden_size], 'mlp_norm'),
    tensor('mlp.gate_proj', [intermediate_size, hidden_size], 'gate_up'),
    tensor('mlp.up_proj', [intermediate_size, hidden_size], 'gate_up', intermediate_size),
    tensor('mlp.down_proj', [hidden_size, intermediate_size], 'down'),
  ]
}
