import { describe, expect, test } from 'vitest'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { undrawableIds } from '../../../../../gpu-node/run/native/prepare.ts'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { layOut, modelFolder, safetensorsBytes, tinyConfig, tinyTensors } from '../../../../support/safetensors.ts'
import { sparse34b } from '../../../../support/sparse-model.ts'
import { smallPieces, tokenizerJson } from '../../../../support/tokenizer-json.ts'
import { tokenizerModel } from '../../../../support/tokenizer-model.ts'

const weights = (shapes: Record<string, number[]>) => {
  const { header, data_bytes } = layOut(shapes)
  return safetensorsBytes(header, data_bytes)
}
const without = (name: string) => Object.fromEntries(Object.entries(tinyTensors).filter(([other]) => other !== name))
const only = (part: RegExp) => Object.fromEntries(Object.entries(tinyTensors).filter(([name]) => part.test(name)))
const index = (weight_map: Record<string, string>) => JSON.stringify({ weight_map })

test('a folder as published is read', () => {
  const model = readModelFolder(modelFolder())
  expect(model.tensors.map(({ name }) => name)).toEqual(Object.keys(tinyTensors))
  expect([...model.eos_ids]).toEqual([2, 7])
  expect(model.tokenizer.size).toBe(260)
})

test('shards are read through their index', () => {
  const model = readModelFolder(
    modelFolder({
      'model.safetensors': null,
      'model-1.safetensors': weights(only(/layers/)),
      'model-2.safetensors': weights(only(/^(?!.*layers)/)),
      'model.safetensors.index.json': index({ x: 'model-1.safetensors', y: 'model-2.safetensors' }),
    }),
  )
  expect(model.tensors.map(({ name }) => name)).toEqual(Object.keys(tinyTensors))
})

test('shards of 34B are read by their headers, with offsets beyond 2^32', () => {
  const { folder, weight_bytes } = sparse34b()
  const { shape, tensors, tokenizer } = readModelFolder(folder)
  expect(weight_bytes).toBeGreaterThan(67e9)
  expect([tensors.length, shape.layers, tokenizer.size]).toEqual([3 + 9 * 48, 48, 32_000])
  expect(Math.max(...tensors.map(({ offset }) => offset))).toBeGreaterThan(2 ** 32)
})

test('tied embeddings need no lm_head, and leave one out', () => {
  const config = JSON.stringify({ ...tinyConfig, tie_word_embeddings: true })
  for (const file of [weights(tinyTensors), weights(without('lm_head.weight'))]) {
    const model = readModelFolder(modelFolder({ 'config.json': config, 'model.safetensors': file }))
    expect(model.tensors.map(({ name }) => name)).not.toContain('lm_head.weight')
  }
})

test('added tokens continue the pieces: special, never found in text, without text of their own', () => {
  const files = {
    'config.json': JSON.stringify({ ...tinyConfig, vocab_size: 262 }),
    'added_tokens.json': JSON.stringify({ '<bot>': 261, '<human>': 260, '</s>': 2 }),
    'model.safetensors': weights({ ...tinyTensors, 'model.embed_tokens.weight': [262, 8], 'lm_head.weight': [262, 8] }),
  }
  const { tokenizer } = readModelFolder(modelFolder(files))
  expect([tokenizer.size, tokenizer.specialId('<human>'), tokenizer.specialId('<bot>')]).toEqual([262, 260, 261])
  expect(tokenizer.encode('<human>')).toHaveLength(7)
  expect(Detokenizer.textOf(tokenizer, [259, 260, 259])).toBe('aa')
})

test('tokenizer.json stands in where there is no tokenizer.model', () => {
  const pieces = smallPieces().filter((piece) => piece !== 'ab' && piece !== 'b')
  const json = { 'tokenizer.json': tokenizerJson({ pieces, merges: [] }) }
  const { tokenizer } = readModelFolder(modelFolder({ 'tokenizer.model': null, ...json }))
  expect(tokenizer.encode('a')).toEqual([...Buffer.from('\u2581').map((byte) => 3 + byte), 259])
  expect(readModelFolder(modelFolder(json)).tokenizer.encode('a')).toEqual([259]) // tokenizer.model goes first
})

test.each([true, false])('added_tokens_decoder adds tokens; special: %s', (special) => {
  const token = { content: '<human>', special }
  const files = {
    'config.json': JSON.stringify({ ...tinyConfig, vocab_size: 262 }),
    'tokenizer_config.json': JSON.stringify({
      added_tokens_decoder: { 261: { content: '<bot>' }, 2: { content: '</s>' }, 260: token },
    }),
    'added_tokens.json': JSON.stringify({ '<human>': 260 }), // says the same again
    'model.safetensors': weights({ ...tinyTensors, 'model.embed_tokens.weight': [262, 8], 'lm_head.weight': [262, 8] }),
  }
  const { tokenizer } = readModelFolder(modelFolder(files))
  expect([tokenizer.size, tokenizer.specialId('<human>'), tokenizer.specialId('<bot>')]).toEqual([262, 260, 261])
  const ids = tokenizer.encode('a<human>a')
  if (special) expect(ids).not.toContain(260)
  else expect(ids).toEqual([259, 260, 259])
  expect(tokenizer.encode('<bot>')).not.toContain(261)
})

test('a piece that added_tokens_decoder calls special is found in no text', () => {
  const files = { 'tokenizer_config.json': JSON.stringify({ added_tokens_decoder: { 259: { content: 'a' } } }) }
  const { tokenizer } = readModelFolder(modelFolder(files))
  expect(tokenizer.specialId('a')).toBe(259)
  expect(tokenizer.encode('a')).toEqual([3 + 0x61])
})

test('what is beyond the network is left out, and said; a gap is padding', () => {
  const added = JSON.stringify({ '<pad>': 260, '<im_end>': 275 })
  const model = readModelFolder(modelFolder({ 'added_tokens.json': added }))
  expect([model.tokenizer.size, model.notes.length]).toEqual([260, 2])
  expect(model.notes[0]).toContain('"<pad>" is beyond')
  const rows = { 'model.embed_tokens.weight': [300, 8], 'lm_head.weight': [300, 8] }
  const wide = readModelFolder(
    modelFolder({
      'added_tokens.json': added,
      'config.json': JSON.stringify({ ...tinyConfig, vocab_size: 300 }),
      'model.safetensors': weights({ ...tinyTensors, ...rows }),
    }),
  )
  expect([260, 261, 275, 276, 299].filter((id) => wide.tokenizer.has(id))).toEqual([260, 275])
  expect(undrawableIds(wide)).toHaveLength(40 - 2)
  expect(wide.notes).toEqual([])
})

test('an end that a network has a row for may be drawn, though no piece has it', () => {
  const config = JSON.stringify({ ...tinyConfig, vocab_size: 262 })
  const file = weights({ ...tinyTensors, 'model.embed_tokens.weight': [262, 8], 'lm_head.weight': [262, 8] })
  const generation = JSON.stringify({ eos_token_id: [2, 261, 999, -1] })
  const model = readModelFolder(
    modelFolder({ 'config.json': config, 'model.safetensors': file, 'generation_config.json': generation }),
  )
  expect([[...model.eos_ids], undrawableIds(model), model.notes.length]).toEqual([[2, 261], [260], 2])
})

test('a sequence begins with LLaMA’s own piece where no file says anything', () => {
  expect(readModelFolder(modelFolder()).tokenizer.begin_id).toBe(1)
})

test('the inverse frequencies that old exporters wrote are ignored', () => {
  const file = weights({ ...tinyTensors, 'model.layers.0.self_attn.rotary_emb.inv_freq': [2] })
  expect(readModelFolder(modelFolder({ 'model.safetensors': file })).tensors).toHaveLength(12)
})

describe('refused by name:', () => {
  test.each([
    ['a missing config', { 'config.json': null }, 'model_file_missing'],
    ['a config that is not JSON', { 'config.json': '{' }, 'config_invalid'],
    ['a generation config that is not JSON', { 'generation_config.json': '{' }, 'generation_config_invalid'],
    ['a missing tokenizer', { 'tokenizer.model': null }, 'model_file_missing'],
    ['missing weights', { 'model.safetensors': null }, 'model_file_missing'],
    ['a missing tensor', { 'model.safetensors': weights(without('model.norm.weight')) }, 'weights_missing_tensor'],
    [
      'an unknown tensor',
      { 'model.safetensors': weights({ ...tinyTensors, 'model.layers.1.mlp.up_proj.weight': [12, 8] }) },
      'weights_unknown_tensor',
    ],
    [
      'a tensor of another shape',
      { 'model.safetensors': weights({ ...tinyTensors, 'model.layers.0.mlp.up_proj.weight': [8, 12] }) },
      'weights_shape',
    ],
    [
      'a tokenizer of more pieces than the vocabulary',
      { 'tokenizer.model': tokenizerModel({ pieces: [{ text: 'a' }, { text: 'b' }] }) },
      'tokenizer_vocabulary_mismatch',
    ],
    [
      'a vocabulary far above the pieces',
      { 'config.json': JSON.stringify({ ...tinyConfig, vocab_size: 260 + 1024 }) },
      'tokenizer_vocabulary_mismatch',
    ],
    [
      'a missing shard',
      { 'model.safetensors': null, 'model.safetensors.index.json': index({ x: 'model-1.safetensors' }) },
      'model_file_missing',
    ],
    [
      'a shard outside the folder',
      { 'model.safetensors': null, 'model.safetensors.index.json': index({ x: '../../../model-1.safetensors' }) },
      'weights_index_invalid',
    ],
    [
      'an index without a map',
      { 'model.safetensors': null, 'model.safetensors.index.json': '{}' },
      'weights_index_invalid',
    ],
    [
      'a tensor in two shards',
      {
        'model.safetensors': null,
        'a.safetensors': weights(tinyTensors),
        'b.safetensors': weights(only(/norm/)),
        'model.safetensors.index.json': index({ x: 'a.safetensors', y: 'b.safetensors' }),
      },
      'weights_duplicate_tensor',
    ],
  ])('%s', (_, files, code) => {
    expect(() => readModelFolder(modelFolder(files))).toThrow(expect.objectContaining({ name: 'ModelError', code }))
  })
})

test('a prompt of nothing begins as the folder names it, where no other begins with anything', () => {
  const files = {
    'config.json': JSON.stringify({ ...tinyConfig, vocab_size: 261 }),
    'added_tokens.json': JSON.stringify({ '<|startoftext|>': 260 }),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<|startoftext|>', add_bos_token: false }),
    'model.safetensors': weights({ ...tinyTensors, 'model.embed_tokens.weight': [261, 8], 'lm_head.weight': [261, 8] }),
  }
  const { tokenizer } = readModelFolder(modelFolder(files))
  expect(encodePrompt([{ special: '<s>' }, { text: 'a' }], tokenizer)).toEqual([259])
  expect(encodePrompt([{ special: '<s>' }, { text: '' }], tokenizer)).toEqual([260])
})
