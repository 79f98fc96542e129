// Folders of LoRA adapters that are not what they should be: each kind of fault is refused by its code, in a line that says which key or
// tensor; and drawn ones, of several kinds at once or with bytes damaged, are refused in a line or are read as they stand.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { llamaReward } from '../../../../../gpu-node/run/native/architecture/llama-reward.ts'
import { readAdapterFolder } from '../../../../../gpu-node/run/native/load/adapter-folder.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { ModelError, type ModelErrorCode } from '../../../../../gpu-node/run/native/model-error.ts'
import { adapterFolder, type RandomAdapter } from '../../../../support/adapter-folder.ts'
import { draws } from '../../../../support/draws.ts'
import { seededRandom } from '../../../../support/random.ts'

const { configurations } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/lora.json'), 'utf8'),
) as {
  configurations: { name: string; config: object; adapters: RandomAdapter[] }[]
}
const [{ name: network, config, adapters }] = configurations as [(typeof configurations)[number]]
const model = modelConfig(config, null)
const good = adapters.find(({ name }) => name === 'queries and values')!
const A = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'

type Tensors = Record<string, number[]>
/** A change of a good folder, and the code of its refusal; null where it changes nothing that is computed. */
type Fault = [name: string, code: ModelErrorCode | null, config: object, tensors?: (good: Tensors) => Tensors]

const without = (key: string) => (tensors: Tensors) =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => name !== key))
const unsupported = (name: string, changes: object): Fault => [name, 'adapter_unsupported', changes]
const invalid = (name: string, changes: object): Fault => [name, 'adapter_config_invalid', changes]
const harmless = (name: string, changes: object): Fault => [name, null, changes]

const faults: Fault[] = [
  unsupported('another method', { peft_type: 'IA3' }),
  unsupported('another task', { task_type: 'SEQ_CLS' }),
  unsupported('biases that are trained', { bias: 'lora_only' }),
  unsupported('DoRA', { use_dora: true }),
  unsupported('modules beside it', { modules_to_save: ['lm_head'] }),
  unsupported('a base that is changed, PiSSA', { init_lora_weights: 'pissa_niter_4' }),
  unsupported('a base that is changed, OLoRA', { init_lora_weights: 'olora' }),
  unsupported('a base that is changed, LoftQ', { init_lora_weights: 'loftq' }),
  unsupported('a bias of its own', { lora_bias: true }),
  unsupported('layers that are repeated', { layer_replication: [[0, 2]] }),
  unsupported('tokens that turn it on', { alora_invocation_tokens: [5] }),
  unsupported('tokens that are trained', { trainable_token_indices: [1] }),
  unsupported('parameters that are no modules', { target_parameters: ['mlp.experts'] }),
  unsupported('a key that nobody knows', { invented_in_2030: true }),
  unsupported('the head', { target_modules: ['q_proj', 'lm_head'] }),
  unsupported('the embedding', { target_modules: '.*embed_tokens' }),
  unsupported('a norm', { target_modules: ['q_proj', 'input_layernorm'] }),
  unsupported('no module at all', { target_modules: ['c_attn'] }),
  unsupported('none that is left', { exclude_modules: ['q_proj', 'v_proj'] }),
  unsupported('a layer that is not there', { layers_to_transform: [3] }),
  unsupported('a pattern and layers', { target_modules: '.*q_proj', layers_to_transform: [1] }),
  unsupported('a pattern of layers that is one', { layers_to_transform: [1], layers_pattern: 'lay.*' }),
  unsupported('no pattern', { target_modules: '(q_proj' }),
  unsupported("a pattern of Python's alone", { target_modules: '(?i).*Q_PROJ' }),
  unsupported('a rank of no pattern', { rank_pattern: { '*': 3 } }),
  invalid('a rank of nothing', { r: 0 }),
  invalid('a rank in words', { r: 'eight' }),
  invalid('a rank beyond what is computed', { r: 513 }),
  invalid('no scale', { lora_alpha: null }),
  invalid('no targets', { target_modules: null }),
  invalid('a rank of a pattern that is none', { rank_pattern: { q_proj: 1.5 } }),
  ['another rank than the tensors have', 'weights_shape', { r: 9 }],
  ['another rank of some', 'weights_shape', { rank_pattern: { '0\\.self_attn\\.v_proj': 4 } }],
  ['a module without tensors', 'weights_missing_tensor', { target_modules: ['q_proj', 'v_proj', 'o_proj'] }],
  ['tensors without a module', 'weights_unknown_tensor', { target_modules: ['q_proj'] }],
  ['a tensor less', 'weights_missing_tensor', {}, without(A)],
  [
    'an embedding',
    'weights_unknown_tensor',
    {},
    (t) => ({ ...t, 'base_model.model.model.embed_tokens.weight': [8, 4] }),
  ],
  [
    'a magnitude',
    'weights_unknown_tensor',
    {},
    (t) => ({ ...t, [A.replace('lora_A.weight', 'lora_magnitude_vector')]: [96] }),
  ],
  ['a matrix that lies across', 'weights_shape', {}, (t) => ({ ...t, [A]: [96, 8] })],
  harmless('nothing said', {}),
  harmless('a key that nobody knows, and nothing', { invented_in_2030: null, and_in_2031: {} }),
  harmless('how it was trained', {
    lora_dropout: 0.5,
    inference_mode: false,
    peft_version: '9',
    base_model_name_or_path: '/x',
  }),
  harmless('a beginning that changes no base', { init_lora_weights: 'orthogonal' }),
  harmless('names of Conv1D', { fan_in_fan_out: true }),
]

function folderOf(changed: Fault[]): string {
  const tensors = changed.reduce((all, [, , , change]) => change?.(all) ?? all, good.tensors)
  return adapterFolder(network, {
    ...good,
    tensors,
    config: Object.assign({}, good.config, ...changed.map((fault) => fault[2])),
  })
}

/** What reading a folder comes to. */
function outcome(folder: string): { code: ModelErrorCode | null; parts: unknown } {
  try {
    return { code: null, parts: readAdapterFolder(folder, model).parts }
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError)
    expect((error as Error).message).toMatch(/^.{10,400}$/)
    return { code: (error as ModelError).code, parts: null }
  }
}

test.each(faults)('%s', (...fault) => {
  expect(outcome(folderOf([fault])).code).toBe(fault[1])
})

test('a pattern that never ends is refused', () => {
  const endless = { target_modules: '(([a-z0-9._]+)+)+!' }
  expect(outcome(folderOf([unsupported('endless', endless)])).code).toBe('adapter_unsupported')
})

test('files that are missing or broken, and a model that takes none', () => {
  const folder = folderOf([])
  writeFileSync(join(folder, 'adapter_config.json'), '{"r": 8')
  expect(outcome(folder).code).toBe('adapter_config_invalid')
  expect(outcome(join(import.meta.dirname, 'none')).code).toBe('model_file_missing')
  const only_config = adapterFolder(network, { ...good, format: 'other' as 'bin' })
  expect(outcome(only_config).code).toBe('model_file_missing')
  expect(() => readAdapterFolder(folderOf([]), { ...model, architecture: llamaReward })).toThrow(/judges answers/)
})

const DRAWN = draws('ADAPTER_FAULTS', { few: 40, all: 2000 })

describe('drawn', () => {
  test(`${DRAWN} of several faults at once: refused, or read as it stands where none counts`, () => {
    const random = seededRandom()
    const wanted = outcome(folderOf([])).parts
    expect(wanted).toHaveLength(6)
    for (let i = 0; i < DRAWN; i++) {
      const chosen = Array.from({ length: 1 + random.below(3) }, () => faults[random.below(faults.length)]!)
      const { code, parts: read } = outcome(folderOf(chosen))
      const keys = chosen.flatMap((fault) => Object.keys(fault[2]))
      if (chosen.every((fault) => fault[1] === null)) expect({ code, read }).toEqual({ code: null, read: wanted })
      else if (new Set(keys).size === keys.length) expect(code, chosen.map(([name]) => name).join(' + ')).not.toBeNull()
    }
  })

  test(`${DRAWN} with bytes damaged: refused in a line, or read as a good one is`, () => {
    const random = seededRandom()
    const wanted = outcome(folderOf([])).parts as { rank: number }[]
    const folder = folderOf([])
    const files = ['adapter_config.json', 'adapter_model.safetensors'].map((file) => join(folder, file))
    const whole = files.map((file) => readFileSync(file))
    for (let i = 0; i < DRAWN; i++) {
      const which = random.below(2)
      const bytes = Buffer.from(whole[which]!)
      for (let k = 0; k <= random.below(3); k++) bytes[random.below(Math.min(bytes.length, 1500))] = random.below(256)
      writeFileSync(files[which]!, random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes)
      const { code, parts: read } = outcome(folder)
      if (code === null) expect((read as unknown[]).length).toBeGreaterThan(0)
      if (code === null && which === 1) expect(read).toEqual(wanted)
      writeFileSync(files[which]!, whole[which]!)
    }
  })
})
