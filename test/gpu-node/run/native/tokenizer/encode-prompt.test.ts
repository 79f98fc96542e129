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
