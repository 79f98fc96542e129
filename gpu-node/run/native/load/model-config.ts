// config.json and generation_config.json of a Hugging Face folder: the shape of the network, or a named refusal. Nothing
// that changes the numbers is guessed; a forgotten rope_theta would give plausible nonsense.

import * as z from 'zod'
import type { ModelShape } from '../engine.ts'
import { ModelError, type ModelErrorCode } from '../model-error.ts'

// What the engine's own door takes (native/check.cpp); said here by the name of the field, before anything is allocated.
const DIMENSION_MAX = 1 << 24
const HEAD_SIZE_MAX = 4096
const size = z.int().positive().max(DIMENSION_MAX)
const FACTOR_MAX = 1 << 20
const rope_theta = z.number().gt(1).nullish()
const eos_token_id = z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish()

const configSchema = z.object({
  architectures: z.array(z.string()).nullish(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size.max(65_536),
  num_key_value_heads: size.nullish(),
  head_dim: size.max(HEAD_SIZE_MAX).nullish(),
  max_position_embeddings: size,
  rope_theta,
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.looseObject({ rope_theta }).nullish(), // both of these in one, as transformers 5 writes them
  rms_norm_eps: z.number().positive().lt(1),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.literal('silu').nullish(),
  attention_bias: z.literal(false).nullish(),
  mlp_bias: z.literal(false).nullish(),
  eos_token_id,
})

const generationConfigSchema = z.object({ eos_token_id })

export interface ModelConfig {
  shape: ModelShape
  eos_ids: ReadonlySet<number>
}

/** `generation_config` is null where the folder has none. Both are parsed JSON. */
export function modelConfig(config: unknown, generation_config: unknown): ModelConfig {
  const parsed = configSchema.safeParse(config)
  if (!parsed.success) throw new ModelError('config_invalid', `config.json: ${firstIssue(parsed.error)}`)
  const generation = generationConfigSchema.nullable().safeParse(generation_config)
  if (!generation.success) {
    throw new ModelError('generation_config_invalid', `generation_config.json: ${firstIssue(generation.error)}`)
  }
  const shape = shapeOf(parsed.data)
  const own = generation.data?.eos_token_id
  const eos_ids =
    own != null
      ? checkedIds(own, shape.vocab_size, 'generation_config_invalid', 'generation_config.json')
      : checkedIds(parsed.data.eos_token_id ?? [], shape.vocab_size, 'config_invalid', 'config.json')
  return { shape, eos_ids }
}

function checkedIds(ids: number | number[], vocab_size: number, code: ModelErrorCode, file: string): Set<number> {
  const outside = [ids].flat().find((id) => id >= vocab_size)
  if (outside !== undefined) throw new ModelError(code, `${file}: eos_token_id ${outside} is outside the vocabulary`)
  return new Set([ids].flat())
}

function shapeOf(config: z.infer<typeof configSchema>): ModelShape {
  if (!config.architectures?.includes('LlamaForCausalLM')) {
    throw new ModelError(
      'config_unsupported_architecture',
      `config.json: architectures is ${JSON.stringify(config.architectures)}, only LlamaForCausalLM is supported`,
    )
  }
  const rope = ropeOf(config)
  if (rope.theta == null) {
    throw new ModelError(
      'config_missing_rope_theta',
      'config.json has no rope_theta; add the value the model was trained with',
    )
  }
  const { num_attention_heads: heads, hidden_size } = config
  const kv_heads = config.num_key_value_heads ?? heads
  const head_size = config.head_dim ?? hidden_size / heads
  const refuse = (what: string) => new ModelError('config_invalid', `config.json: ${what}`)
  if (heads % kv_heads !== 0) throw refuse(`${heads} heads over ${kv_heads} kv heads`)
  if (head_size % 2 !== 0 || head_size > HEAD_SIZE_MAX) throw refuse(`a head of ${head_size} values cannot be rotated`)
  if ((heads + 2 * kv_heads) * head_size > DIMENSION_MAX)
    throw refuse(`${heads} heads of ${head_size} values are too many`)
  return {
    vocab_size: config.vocab_size,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    kv_heads,
    head_size,
    context_tokens: config.max_position_embeddings,
    rope_theta: rope.theta,
    rope_scaling_factor: ropeScalingFactor(rope.scaling),
    rms_norm_eps: config.rms_norm_eps,
    tied_embeddings: config.tie_word_embeddings ?? false,
  }
}

function ropeOf(config: z.infer<typeof configSchema>) {
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

function firstIssue(error: z.ZodError): string {
  const { path, message } = error.issues[0]!
  return `${path.join('.')}: ${message}`
}
