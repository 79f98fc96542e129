import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { sharedData } from '../../../../support/shared-data.ts'

const tokenizer = new Tokenizer(readFileSync(sharedData('tokenizer/llama-32000.model')))

test('parts are encoded one by one, each text with its own dummy prefix', () => {
  const ids = encodePrompt([{ special: '<s>' }, { text: 'ing' }, { text: 'ing' }, { tokens: [5, 6] }], tokenizer, 32000)
  expect(ids).toEqual([1, ...tokenizer.encode('ing'), ...tokenizer.encode('ing'), 5, 6])
})

test('a special that the model lacks is refused', () => {
  expect(() => encodePrompt([{ special: '<human>' }], tokenizer, 32000)).toThrow(
    expect.objectContaining({ code: 'unknown_special' }),
  )
})

test('an id outside the vocabulary is refused', () => {
  expect(() => encodePrompt([{ tokens: [31999, 32000] }], tokenizer, 32000)).toThrow(
    expect.objectContaining({ code: 'invalid_token_id', param: 'prompt' }),
  )
})
