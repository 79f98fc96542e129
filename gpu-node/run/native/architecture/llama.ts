// Llama, as transformers publishes it. Nothing that changes the numbers is guessed; a forgotten rope_theta would give plausible
// nonsense.

import * as z from 'zod'
import type { ModelShape } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import {
  type Architecture,
  dimension,
  invalid,
  parsed,
  type RopeScaling,
  refuseUnlessNeutral,
  type SlotTensor,
  type ToldConfig,
  UNSCALED,
} from './architecture.ts'
import { DIMENSION_MAX, HEAD_SIZE_MAX, HEADS_MAX, LAYERS_MAX } from './bounds.ts'

const theta = z.number().gt(1).nullish()
const positions = z.looseObject({
  rope_theta: theta,
  rope_type: z.unknown().optional(),
  type: z.unknown().optional(), // the older name
  factor: z.unknown().optional(),
  low_freq_factor: z.unknown().optional(),
  high_freq_factor: z.unknown().optional(),
  original_max_position_embeddings: z.unknown().optional(),
  partial_rotary_factor: z.number().nullish(),
})

const configSchema = z.looseObject({
  vocab_size: dimension,
  hidden_size: dimension,
  intermediate_size: dimension,
  num_hidden_layers: dimension.max(LAYERS_MAX),
  num_attention_heads: dimension.max(HEADS_MAX),
  num_key_value_heads: dimension.nullish(),
  head_dim: dimension.max(HEAD_SIZE_MAX).nullish(),
  max_position_embeddings: dimension.nullish(),
  max_sequence_length: dimension.nullish(), // as the first conversions have it
  rope_theta: theta,
  rope_scaling: positions.nullish(),
  rope_parameters: positions.nullish(), // both of these in one, as transformers 5 writes them
  rms_norm_eps: z.number().positive().lt(1),
  tie_word_embeddings: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
})

type Config = z.infer<typeof configSchema>
type Positions = z.infer<typeof positions>

/**
 * What else a config may say that would change the numbers, here or in a model of the same names, and what it may say of it: nothing, or
 * what makes no difference.
 */
const NEUTRAL: Record<string, readonly unknown[]> = {
  hidden_act: ['silu', 'swish'],
  bias: [false],
  use_bias: [false],
  qkv_bias: [false],
  partial_rotary_factor: [1],
  rotary_pct: [1],
  sliding_window: [false],
  attention_chunk_size: [],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  query_pre_attn_scalar: [],
  attention_multiplier: [],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  logits_scaling: [1],
  logit_scale: [1],
  scale_emb: [1],
  clip_qkv: [],
  use_qk_norm: [false],
  qk_layernorm: [false],
  alibi: [false],
  use_parallel_residual: [false],
  num_local_experts: [],
}

export const llama: Architecture = {
  config_names: ['LlamaForCausalLM', 'LLaMAForCausalLM'],
  model_type: 'llama',
  title: 'LLaMA',
  shapeOf: (config, told = {}) => shapeOf(parsed(configSchema, config, 'config_invalid', 'config.json'), told),
  tensorsOf,
  tied: ['model.embed_tokens.weight', 'lm_head.weight'],
  isHarmless: (name, shape) => BUFFER.test(name) || (shape.tied_embeddings && name === 'lm_head.weight'),
}

// What is computed anew in every process, and older exporters wrote all the same; and what judged answers in training.
const BUFFER = /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$|\.self_attn\.(bias|masked_bias)$|^v_head\./

function shapeOf(config: Config, told: ToldConfig): ModelShape {
  refuseUnlessNeutral(config, NEUTRAL)
  refuseOtherLayers(config)
  return {
    architecture: 'llama',
    vocab_size: config.vocab_size,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    layers: config.num_hidden_layers,
    ...headsOf(config),
    context_tokens: contextOf(config),
    ...ropeOf(config, told),
    rms_norm_eps: config.rms_norm_eps,
    layer_norm_eps: 0,
    exact_gelu: false,
    attention_bias: config.attention_bias ?? false,
    mlp_bias: config.mlp_bias ?? false,
    tied_embeddings: config.tie_word_embeddings ?? false,
  }
}

function refuseOtherLayers({ layer_types }: Config): void {
  if (Array.isArray(layer_types) && layer_types.some((type) => type !== 'full_attention'))
    throw invalid('layer_types has others than full_attention, which are not computed here')
}

function headsOf({ num_attention_heads: heads, num_key_value_heads, head_dim, hidden_size }: Config) {
  const kv_heads = num_key_value_heads ?? heads
  const head_size = head_dim ?? hidden_size / heads
  if (heads % kv_heads !== 0) throw invalid(`${heads} heads over ${kv_heads} kv heads`)
  if (head_size % 2 !== 0 || head_size > HEAD_SIZE_MAX) throw invalid(`a head of ${head_size} values cannot be rotated`)
  if ((heads + 2 * kv_heads) * head_size > DIMENSION_MAX)
    throw invalid(`${heads} heads of ${head_size} values are too many`)
  return { heads, kv_heads, head_size }
}

function contextOf({ max_position_embeddings, max_sequence_length }: Config): number {
  const context = max_position_embeddings ?? max_sequence_length
  if (context == null) throw invalid('it has no max_position_embeddings, the tokens of a context')
  return context
}

// ── positions

function ropeOf(config: Config, told: ToldConfig): RopeScaling & Pick<ModelShape, 'rope_theta'> {
  const written = [config.rope_scaling, config.rope_parameters].filter((one) => one != null)
  const thetas = [config.rope_theta, ...written.map(({ rope_theta }) => rope_theta)]
  const rope_theta = onlyOne('rope_theta', [...thetas, told.rope_theta])
  if (rope_theta === null)
    throw new ModelError(
      'config_missing_rope_theta',
      'config.json has no rope_theta; LLaMA 1 and 2 were trained with 10000: say --rope-theta 10000 for one, ' +
        'or add the value that the model was trained with',
    )
  const scalings = written.filter((one) => Object.keys(one).length > 0).map(ropeScalingOf)
  onlyOne(
    'how positions are scaled',
    scalings.map((scaling) => JSON.stringify(scaling)),
  )
  return { rope_theta, ...(scalings[0] ?? UNSCALED) }
}

const FACTOR_MAX = 1 << 20

function ropeScalingOf(scaling: Positions): RopeScaling {
  const { factor } = scaling
  const kind = onlyOne('rope_type', [scaling.rope_type, scaling.type]) ?? (factor == null ? 'default' : 'none')
  const is_whole = scaling.partial_rotary_factor == null || scaling.partial_rotary_factor === 1
  if (kind === 'default' && is_whole) return UNSCALED
  if (isNumber(factor) && factor >= 1 && factor <= FACTOR_MAX && is_whole) {
    if (kind === 'linear') return { ...UNSCALED, rope_scaling_factor: factor }
    const by_turns = kind === 'llama3' ? turnsOf(scaling) : null
    if (by_turns) return { rope_scaling_factor: factor, ...by_turns }
  }
  throw new ModelError(
    'config_unsupported_rope_scaling',
    `config.json: rope_scaling ${JSON.stringify(scaling)} is not supported, only linear with a factor, and llama3 with all of its four`,
  )
}

/** Those of Llama 3, where all of them are said and make sense. */
function turnsOf(scaling: Positions): Omit<RopeScaling, 'rope_scaling_factor'> | null {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: tokens } = scaling
  if (!isNumber(low) || !isNumber(high) || !isNumber(tokens)) return null
  const makes_sense = low > 0 && low < high && Number.isInteger(tokens) && tokens > 0 && tokens <= DIMENSION_MAX
  return makes_sense ? { rope_original_tokens: tokens, rope_low_turns: low, rope_high_turns: high } : null
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

/** What is said of one thing in several places; null where nothing is. */
function onlyOne<T>(what: string, said: readonly (T | null | undefined)[]): T | null {
  const different = [...new Set(said.filter((one): one is T => one != null))]
  if (different.length > 1)
    throw new ModelError('config_contradicts_itself', `config.json: ${what} is ${different.join(' and ')}`)
  return different[0] ?? null
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
    name: `model.layers.${i}.${name}`,
    shape: size,
    slot: `layer.${i}.${slot}`,
    first_row,
  })
  const weights = [
    tensor('input_layernorm.weight', [hidden_size], 'attention_norm'),
    tensor('self_attn.q_proj.weight', [query_size, hidden_size], 'qkv'),
    tensor('self_attn.k_proj.weight', [kv_size, hidden_size], 'qkv', query_size),
    tensor('self_attn.v_proj.weight', [kv_size, hidden_size], 'qkv', query_size + kv_size),
    tensor('self_attn.o_proj.weight', [hidden_size, query_size], 'attention_out'),
    tensor('post_attention_layernorm.weight', [hidden_size], 'mlp_norm'),
    tensor('mlp.gate_proj.weight', [intermediate_size, hidden_size], 'gate_up'),
    tensor('mlp.up_proj.weight', [intermediate_size, hidden_size], 'gate_up', intermediate_size),
    tensor('mlp.down_proj.weight', [hidden_size, intermediate_size], 'down'),
  ]
  const attention_biases = [
    tensor('self_attn.q_proj.bias', [query_size], 'qkv_bias'),
    tensor('self_attn.k_proj.bias', [kv_size], 'qkv_bias', query_size),
    tensor('self_attn.v_proj.bias', [kv_size], 'qkv_bias', query_size + kv_size),
    tensor('self_attn.o_proj.bias', [hidden_size], 'attention_out_bias'),
  ]
  const mlp_biases = [
    tensor('mlp.gate_proj.bias', [intermediate_size], 'gate_bias'),
    tensor('mlp.up_proj.bias', [intermediate_size], 'up_bias'),
    tensor('mlp.down_proj.bias', [hidden_size], 'down_bias'),
  ]
  return [...weights, ...(shape.attention_bias ? attention_biases : []), ...(shape.mlp_bias ? mlp_biases : [])]
}
