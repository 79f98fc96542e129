import { describe, expect, test } from 'vitest'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { tinyConfig } from '../../../../support/safetensors.ts'

const LLAMA_3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
}

const config = (changes: object = {}) => ({ ...tinyConfig, ...changes })

test('a config gives the shape of the network', () => {
  expect(modelConfig(config(), null).shape).toEqual({
    architecture: 'llama',
    vocab_size: 260,
    hidden_size: 8,
    intermediate_size: 12,
    layers: 1,
    heads: 2,
    kv_heads: 1,
    head_size: 4,
    context_tokens: 64,
    rope_theta: 10000,
    rope_scaling_factor: 1,
    rope_original_tokens: 0,
    rope_low_turns: 0,
    rope_high_turns: 0,
    rms_norm_eps: 1e-5,
    layer_norm_eps: 0,
    exact_gelu: false,
    attention_bias: false,
    mlp_bias: false,
    tied_embeddings: false,
  })
})

test('a head may have a size of its own, and without kv heads every head has its own', () => {
  const { shape } = modelConfig(config({ head_dim: 16, num_key_value_heads: undefined }), null)
  expect(shape).toMatchObject({ head_size: 16, kv_heads: 2 })
})

describe('the ids that end a sequence', () => {
  const eos = (changes: object, generation: object | null) => [...modelConfig(config(changes), generation).eos_ids]
  test('come from generation_config.json, one or several', () => {
    expect(eos({}, { eos_token_id: 5 })).toEqual([5])
    expect(eos({}, { eos_token_id: [5, 6] })).toEqual([5, 6])
  })
  test('else from config.json, else there are none', () => {
    expect(eos({}, {})).toEqual([2])
    expect(eos({}, null)).toEqual([2])
    expect(eos({ eos_token_id: undefined }, null)).toEqual([])
  })
})

test.each([
  [{ type: 'linear', factor: 4 }, 4],
  [{ rope_type: 'linear', factor: 2 }, 2],
  [{ rope_type: 'default' }, 1],
  [null, 1],
])('rope_scaling %j divides positions by %d', (rope_scaling, factor) => {
  expect(modelConfig(config({ rope_scaling }), null).shape.rope_scaling_factor).toBe(factor)
})

test('rope_scaling of Llama 3 divides what turns slowly', () => {
  const { shape } = modelConfig(config({ rope_scaling: LLAMA_3 }), null)
  expect(shape).toMatchObject({
    rope_scaling_factor: 8,
    rope_original_tokens: 8192,
    rope_low_turns: 1,
    rope_high_turns: 4,
  })
})

test('rope_parameters hold theta and scaling, as newer configs write them', () => {
  const rope_parameters = { rope_type: 'linear', factor: 2, rope_theta: 5e5 }
  const { shape } = modelConfig(config({ rope_theta: undefined, rope_parameters }), null)
  expect(shape).toMatchObject({ rope_theta: 5e5, rope_scaling_factor: 2 })
})

test.each([
  ['a missing rope_theta', { rope_theta: undefined }, 'config_missing_rope_theta'],
  ['another architecture', { architectures: ['GPT2LMHeadModel'] }, 'config_unsupported_architecture'],
  ['no architecture', { architectures: undefined }, 'config_unsupported_architecture'],
  ['yarn', { rope_scaling: { type: 'yarn', factor: 4 } }, 'config_unsupported_rope_scaling'],
  ...Object.keys(LLAMA_3)
    .filter((key) => key !== 'rope_type')
    .map((key): [string, object, string] => [
      `Llama 3's without ${key}`,
      { rope_scaling: { ...LLAMA_3, [key]: undefined } },
      'config_unsupported_rope_scaling',
    ]),
  [
    "Llama 3's that contradicts itself",
    { rope_scaling: LLAMA_3, rope_parameters: { ...LLAMA_3, high_freq_factor: 5 } },
    'config_contradicts_itself',
  ],
  ["Llama 3's upside down", { rope_scaling: { ...LLAMA_3, low_freq_factor: 4 } }, 'config_unsupported_rope_scaling'],
  ['a linear scaling without a factor', { rope_scaling: { type: 'linear' } }, 'config_unsupported_rope_scaling'],
  ['biases that are no truth', { attention_bias: 'yes' }, 'config_invalid'],
  ['another activation', { hidden_act: 'gelu' }, 'config_invalid'],
  ['heads that kv heads do not divide', { num_key_value_heads: 3, num_attention_heads: 4 }, 'config_invalid'],
  ['heads of a fractional size', { hidden_size: 9 }, 'config_invalid'],
  ['heads of an odd size', { head_dim: 3 }, 'config_invalid'],
  ['a negative size', { hidden_size: -8 }, 'config_invalid'],
  ['a size in text', { vocab_size: '260' }, 'config_invalid'],
])('%s is refused by name', (_, changes, code) => {
  expect(() => modelConfig(config(changes), null)).toThrow(expect.objectContaining({ name: 'ModelError', code }))
})

test('a broken generation_config.json is refused by name', () => {
  expect(() => modelConfig(config(), { eos_token_id: 'x' })).toThrow(
    expect.objectContaining({ code: 'generation_config_invalid' }),
  )
})
