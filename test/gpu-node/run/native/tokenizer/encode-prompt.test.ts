import { expect, test } from 'vitest'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { llamaTokenizerModel } from '../../../../support/llama-vocabulary.ts'

const tokenizer = new Tokenizer(llamaTokenizerModel())

test('parts are encoded one by one, each text with its own dummy prefix', () => {
  const ids = encodePrompt([{ special: '<s>' }, { text: 'ing' }, { text: 'ing' }, { tokens: [5, 6] }], tokenizer)
  expect(ids).toEqual([1, ...tokenizer.encode('ing'), ...tokenizer.encode('ing'), 5, 6])
})

test('a special that the model lacks is refused', () => {
  expect(() => encodePrompt([{ special: '<human>' }], tokenizer)).toThrow(
    expect.objectContaining({ code: 'unknown_special' }),
  )
})

test('an id outside the vocabulary is refused', () => {
  expect(() => encodePrompt([{ tokens: [31999, 32000] }], tokenizer)).toThrow(
    expect.objectContaining({ code: 'invalid_token_id', param: 'prompt' }),
  )
})

test('ids of padding and of holes are outside the vocabulary', () => {
  const { model } = tokenizer
  const holed = new Tokenizer({ ...model, pieces: model.pieces.with(31_000, { text: '', score: 0, type: 'unused' }) })
  for (const id of [31_000, 32_000])
    expect(() => encodePrompt([{ tokens: [id] }], holed)).toThrow(expect.objectContaining({ code: 'invalid_token_id' }))
  expect(encodePrompt([{ tokens: [30_999] }], holed)).toEqual([30_999])
})

test('a sequence begins with what its folder says, and a prompt of nothing begins all the same', () => {
  const without = new Tokenizer(tokenizer.model, null)
  const other = new Tokenizer(tokenizer.model, 2)
  const prompt = [{ special: '<s>' }, { text: 'ing' }]
  expect(encodePrompt(prompt, without)).toEqual(tokenizer.encode('ing'))
  expect(encodePrompt(prompt, other)).toEqual([2, ...tokenizer.encode('ing')])
  expect(encodePrompt([{ special: '<s>' }, { text: '' }], without)).toEqual([1])
})

test('where only the first text has a prefix, what follows another part has none', () => {
  const first = new Tokenizer({ ...tokenizer.model, prefixes: 'first_text' })
  const [, ...rest] = encodePrompt([{ special: '<s>' }, { text: 'ing' }, { text: 'ing' }], first)
  expect(rest).toEqual([...tokenizer.encode('ing'), ...first.encode('ing', { is_first: false })])
  expect(first.encode('ing', { is_first: false })).not.toEqual(tokenizer.encode('ing'))
})
