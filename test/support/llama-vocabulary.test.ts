import { createHash } from 'node:crypto'
import llama from 'llama-tokenizer-js'
import { expect, test } from 'vitest'
import { parseTokenizerModel } from '../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'
import { llamaTokenizerModel } from './llama-vocabulary.ts'
import { mergesOf } from './tokenizer-json.ts'

// What a folder beside it may change is not of the file.
const whole = parseTokenizerModel(llamaTokenizerModel())
const { unspelled, prefixes, is_metaspace, word_rule, takes_whole_words, ...model } = whole

// Taken from Meta's tokenizer.model (sha256 9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347): this hash of what
// parseTokenizerModel reads there: the text, score and type of each of the 32,000 pieces in order, and the normalizer's flags.
const PUBLISHED_SHA256 = '39808099b803c3b5b85fd5eab5d201762dad3e5887b8423ba8ed2c174761c272'

test("the vocabulary says what Meta's own file says, piece by piece", () => {
  expect(model.pieces).toHaveLength(32_000)
  expect({ unspelled, prefixes, is_metaspace, word_rule, takes_whole_words }).toEqual({
    unspelled: 'bytes',
    prefixes: 'each_text',
    is_metaspace: false,
    word_rule: null,
    takes_whole_words: false,
  })
  expect(createHash('sha256').update(JSON.stringify(model)).digest('hex')).toBe(PUBLISHED_SHA256)
})

test('its scores give the merges that the package lists, in an order that they allow', () => {
  const listed = [...llama.merges.keys()]
  const own = mergesOf(whole).map((pair) => pair.join(' '))
  expect(new Set(listed)).toEqual(new Set(own))
  const scores = new Map(model.pieces.map(({ text, score }) => [text, score]))
  const in_order = listed.map((merge) => scores.get(merge.replace(' ', ''))!)
  expect(in_order.every((score, i) => i === 0 || score <= in_order[i - 1]!)).toBe(true)
})
