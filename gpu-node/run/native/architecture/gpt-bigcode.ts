// GPTBigCode, the network of StarCoder and of what was trained from it, as transformers publishes it. All heads share one head of keys
// and values, positions are learned, and norms and products have biases.

import * as z from 'zod'
import type { ModelShape } from '../engine.ts'
import {
  type Architecture,
  dimension,
  invalid,
  parsed,
  refuseUnlessNeutral,
  type SlotTensor,
  UNSCALED,
} from './architecture.ts'
import { DIMENSION_MAX, HEAD_SIZE_MAX, HEADS_MAX, LAYERS_MAX } from './bounds.ts'

const configSchema = z.looseObject({
  vocab_size: dimension,
  n_positions: dimension,
  n_embd: dimension,
  n_layer: dimension.max(LAYERS_MAX),
  n_head: dimension.max(HEADS_MAX),
  n_inner: dimension.nullish(),
  layer_norm_epsilon: z.number().positive().lt(1),
  tie_word_embeddings: z.boolean().nullish(),
})

type Config = z.infer<typeof configSchema>

// Names of two functions: StarCoder and its children have the exact one, SantaCoder the one by tanh.
const EXACT_GELU: readonly unknown[] = ['gelu', 'gelu_python']
const TANH_GELU: readonly unknown[] = [
  'gelu_pytorch_tanh',
  'gelu_python_tanh',
  'gelu_new',
  'gelu_fast',
  'gelu_accurate',
]

/** What else a config may say that would change the numbers, and what it may say of it. */
const NEUTRAL: Record<string, readonly unknown[]> = {
  activation_function: [...TANH_GELU, ...EXACT_GELU],
  multi_query: [true],
  scale_attn_weights: [true],
  scale_attn_by_inverse_layer_idx: [false],
  add_cross_attention: [false],
  num_key_value_heads: [1],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  sliding_window: [],
  rope_theta: [],
  rope_scaling: [],
  alibi: [false],
}

export const gptBigCode: Architecture = {
  config_names: ['GPTBigCodeForCausalLM', 'GPTBigCodeLMHeadModel'],
  model_type: 'gpt_bigcode',
  title: 'GPTBigCode',
  shapeOf: (config) => shapeOf(parsed(configSchema, config, 'config_invalid', 'config.json')),
  tensorsOf,
  tied: ['transformer.wte.weight', 'lm_head.weight'],
  isHarmless: (name, shape) => BUFFER.test(name) || (shape.tied_embeddings && name === 'lm_head.weight'),
}

// The causal mask, which older exporters wrote.
const BUFFER = /\.attn\.(bias|masked_bias)$/

function shapeOf(config: Config): ModelShape {
  refuseUnlessNeutral(config, NEUTRAL)
  return {
    architecture: 'gpt_bigcode',
    vocab_size: config.vocab_size,
    hidden_size: config.n_embd,
    intermediate_size: config.n_inner ?? innerOf(config),
    layers: config.n_layer,
    ...headsOf(config),
    context_tokens: config.n_positions,
    rope_theta: 0,
    ...UNSCALED,
    rms_norm_eps: 0,
    layer_norm_eps: config.layer_norm_epsilon,
    exact_gelu: EXACT_GELU.includes(config.activation_function),
    attention_bias: true,
    mlp_bias: true,
    tied_embeddings: config.tie_word_embeddings ?? true,
  }
}

function innerOf({ n_embd }: Config): number {
  const inner = 4 * n_embd
  if (inner > DIMENSION_MAX) throw invalid(`n_embd ${n_embd} is too much where n_inner is four times as much`)
  return inner
}

function headsOf({ n_head, n_embd }: Config): Pick<ModelShape, 'heads' | 'kv_heads' | 'head_size'> {
  const head_size = n_embd / n_head
  if (!Number.isInteger(head_size) || head_size % 2 !== 0 || head_size > HEAD_SIZE_MAX)
    throw invalid(`${n_embd} values of ${n_head} heads, which is not an even number for each`)
  if ((n_head + 2) * head_size > DIMENSION_MAX) throw invalid(`${n_head} heads of ${head_size} values are too many`)
  return { heads: n_head, kv_heads: 1, head_size }
}

function tensorsOf(shape: ModelShape): SlotTensor[] {
  const embedding = [shape.vocab_size, shape.hidden_size]
  const whole = (name: string, size: number[], slot: string) => ({ name, shape: size, slot, first_row: 0 })
  return [
    whole('transformer.wte.weight', embedding, 'embedding'),
    whole('transformer.wpe.weight', [shape.context_tokens, shape.hidden_size], 'positions'),
    ...Array.from({ length: shape.layers }, (_, i) => layerTensors(shape, i)).flat(),
    ...withBias('transformer.ln_f', [shape.hidden_size], 'final_norm'),
    ...(shape.tied_embeddings ? [] : [whole('lm_head.weight', embedding, 'head')]),
  ]
}

function layerTensors(
  { hidden_size, intermediate_size, heads, kv_heads, head_size }: ModelShape,
  i: number,
): SlotTensor[] {
  const both = (name: string, size: number[], slot: string) =>
    withBias(`transformer.h.${i}.${name}`, size, `layer.${i}.${slot}`)
  return [
    both('ln_1', [hidden_size], 'attention_norm'),
    both('attn.c_attn', [(heads + 2 * kv_heads) * head_size, hidden_size], 'qkv'),
    both('attn.c_proj', [hidden_size, heads * head_size], 'attention_out'),
    both('ln_2', [hidden_size], 'mlp_norm'),
    both('mlp.c_fc', [intermediate_size, hidden_size], 'up'),
    both('mlp.c_proj', [hidden_size, intermediate_size], 'down'),
  ].flat()
}

/** A bias has as many values as its weight has rows. */
function withBias(name: string, shape: number[], slot: string): SlotTensor[] {
  return [
    { name: `${name}.weight`, shape, slot, first_row: 0 },
    { name: `${name}.bias`, shape: [shape[0]!], slot: `${slot}_bias`, first_row: 0 },
  ]
}
