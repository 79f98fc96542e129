// config.json and generation_config.json of a Hugging Face folder: the shape of the network, or a named refusal. Nothing
// that changes the numbers is guessed; a forgotten rope_theta would give plausible nonsense.

import { z } from 'zod'
import type { ModelShape } from '../engine.ts'
import { ModelError } from './model-error.ts'

const size = z.int().positive()
const eos_token_id = z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish()

const configSchema = z.object({
  architectures: z.array(z.string()).nullish(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size,
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rms_norm_eps: z.number().positive(),
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
  const eos = generation.data?.eos_token_id ?? parsed.data.eos_token_id ?? []
  return { shape: shapeOf(parsed.data), eos_ids: new Set([eos].flat()) }
}

function shapeOf(config: z.infer<typeof configSchema>): ModelShape {
  if (!config.architectures?.includes('LlamaForCausalLM')) {
    throw new ModelError(
      'config_unsupported_architecture',
      `config.json: architectures is ${JSON.stringify(config.architectures)}, only LlamaForCausalLM is supported`,
    )
  }
  if (config.rope_theta == null) {
    throw new ModelError(
      'config_missing_rope_theta',
      'config.json has no rope_theta; add the value the model was trained with',
    )
  }
  const heads = config.num_attention_heads
  const kv_heads = config.num_key_value_heads ?? heads
  const head_size = config.head_dim ?? config.hidden_size / heads
  if (heads % kv_heads !== 0)
    throw new ModelError('config_invalid', `config.json: ${heads} heads over ${kv_heads} kv heads`)
  if (!Number.isInteger(head_size) || head_size % 2 !== 0) {
    throw new ModelError('config_invalid', `config.json: a head of ${head_size} values cannot be rotated`)
  }
  return {
    vocab_size: config.vocab_size,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    kv_heads,
    head_size,
    context_tokens: config.max_position_embeddings,
    rope_theta: config.rope_theta,
    rope_scaling_factor: ropeScalingFactor(config.rope_scaling ?? null),
    rms_norm_eps: config.rms_norm_eps,
    tied_embeddings: config.tie_word_embeddings ?? false,
  }
}

function ropeScalingFactor(scaling: Record<string, unknown> | null): number {
  if (scaling === null) return 1
  const type = scaling.rope_type ?? scaling.type // the older name
  if (type === 'default') return 1
  if (type === 'linear' && typeof scaling.factor === 'number' && scaling.factor >= 1) return scaling.factor
  throw new ModelError(
    'config_unsupported_rope_scaling',
    `config.json: rope_scaling ${JSON.stringify(scaling)} is not supported, only linear with a factor`,
  )
}

function firstIssue(error: z.ZodError): string {
  const { path, message } = error.issues[0]!
  return `${path.join('.')}: ${message}`
}
