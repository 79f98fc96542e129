import { expect, test } from 'vitest'
import type { ModelErrorCode } from '../../../../../gpu-node/run/native/model-error.ts'
import { parseTokenizerModel } from '../../../../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'
import { type TokenizerModelOptions, tokenizerModel } from '../../../../support/tokenizer-model.ts'

const good = tokenizerModel({ pieces: [{ text: 'ab', score: -1.5 }] })

test('a model is read back', () => {
  const model = parseTokenizerModel(good)
  expect(model.pieces).toHaveLength(260)
  expect(model.pieces.at(-1)).toEqual({ text: 'ab', score: -1.5, type: 'normal' })
  expect(model.unknown_surface).toBe(' \u2047 ')
})

const unsupported: [string, TokenizerModelOptions][] = [
  ['a unigram model', { model_type: 1 }],
  ['a normalizer with a character map', { charsmap: Uint8Array.of(1) }],
  ['whitespace as suffix', { treat_whitespace_as_suffix: true }],
  ['unescaped whitespace', { escape_whitespaces: false }],
  ['an unused piece', { pieces: [{ text: 'x', type: 5 }] }],
]

test.each(unsupported)('%s is refused by name', (_, options) => {
  expect(codeOf(tokenizerModel(options))).toBe('tokenizer_unsupported')
})

test.each([
  ['a missing byte piece', tokenizerModel({ bytes: 255 })],
  ['a piece listed twice', tokenizerModel({ pieces: [{ text: 'x' }, { text: 'x' }] })],
  ['an empty piece', tokenizerModel({ pieces: [{ text: '' }] })],
  ['text', Buffer.from('not a protocol buffer at all')],
])('%s is invalid', (_, bytes) => {
  expect(codeOf(bytes)).toBe('tokenizer_invalid')
})

test('a file cut anywhere is refused', () => {
  for (let length = 0; length < good.length; length++) {
    expect(codeOf(good.subarray(0, length))).toMatch(/^tokenizer_(invalid|unsupported)$/)
  }
})

function codeOf(bytes: Uint8Array): ModelErrorCode | null {
  try {
    parseTokenizerModel(bytes)
    return null
  } catch (error) {
    return (error as { code: ModelErrorCode }).code
  }
}
