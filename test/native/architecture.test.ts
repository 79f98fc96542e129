// A new architecture is two files: with identity.ts and identity.cpp, a folder of that architecture is read, loaded and generated
// with, by the node's own reader, scheduler and addon.

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ARCHITECTURES } from '../../gpu-node/run/native/architecture/registry.ts'
import { type EngineOptions, loadEngine, openAddon } from '../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../../gpu-node/run/native/scheduler.ts'
import { modelFolder, safetensorsFile } from '../support/safetensors.ts'
import { makeSequence, runToEnd } from '../support/sequences.ts'
import { identity } from './identity.ts'

const VOCAB = 260
const LIMITS = { blocks: 16, batch_tokens_max: 64, sequences_max: 4, waiting_max: 8 }
const options: EngineOptions = { device: 'cpu', threads: 1, ...LIMITS }
const config = {
  architectures: ['IdentityForCausalLM'],
  vocab_size: VOCAB,
  hidden_size: VOCAB,
  num_hidden_layers: 3,
  max_position_embeddings: 64,
  eos_token_id: 2,
}

/** Row i is 1 in column i + shift. */
function shifted(shift: number) {
  const values = new Float32Array(VOCAB * VOCAB)
  for (let i = 0; i < VOCAB; i++) values[i * VOCAB + ((i + shift) % VOCAB)] = 1
  return { dtype: 'F32', shape: [VOCAB, VOCAB], data: Buffer.from(values.buffer) }
}

// The head's row of a token is the embedding of the one after it: so a sequence counts down, to the end of the sequence.
const weights = {
  'embed.weight': shifted(0),
  'norm.weight': { dtype: 'F32', shape: [VOCAB], data: Buffer.from(new Float32Array(VOCAB).fill(1).buffer) },
  'head.weight': shifted(1),
}

const folderOf = (tensors: typeof weights | object) =>
  modelFolder({
    'config.json': JSON.stringify(config),
    'generation_config.json': null,
    'model.safetensors': safetensorsFile(tensors as typeof weights),
  })
const known = [...ARCHITECTURES, identity]

test('a folder of another architecture is loaded and generated with, by two files more', async () => {
  const model = readModelFolder(folderOf(weights), { known })
  const addon = openAddon(join(import.meta.dirname, '../../native/build/ziya-test.node'))
  const engine = await addon.NativeEngine.load(model.shape, model.tensors, options, () => {})
  expect(engine.info).toMatchObject({ parameters: 2 * VOCAB * VOCAB + VOCAB, kv_bytes: 0 })
  const prompts = [[9, 100, 30], [8]]
  const sequences = prompts.map((prompt) => makeSequence({ prompt, output_tokens_max: 6 }))
  expect(await runToEnd(engine, new Scheduler(LIMITS), sequences)).toEqual([
    [29, 28, 27, 26, 25, 24],
    [7, 6, 5, 4, 3, 2],
  ])
  await engine.close()
})

test('without those two files it is refused by name, on both sides', async () => {
  const refusal = { name: 'ModelError', code: 'config_unsupported_architecture' }
  expect(() => readModelFolder(folderOf(weights))).toThrow(expect.objectContaining(refusal))
  const { shape, tensors } = readModelFolder(folderOf(weights), { known })
  await expect(loadEngine(shape, tensors, options, () => {})).rejects.toMatchObject({
    code: 'unsupported_architecture',
  })
})

test('its tensors are held to its own list', () => {
  const { 'norm.weight': norm, ...rest } = weights
  const refusalOf = (tensors: object) => {
    try {
      readModelFolder(folderOf(tensors), { known })
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
  expect(refusalOf(rest)).toBe('the weights lack norm.weight')
  expect(refusalOf({ ...weights, 'bias.weight': norm })).toBe(
    'bias.weight is not a tensor of a model of identities of this shape',
  )
})
