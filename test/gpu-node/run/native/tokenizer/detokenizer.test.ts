import { expect, test } from 'vitest'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { llamaTokenizerModel } from '../../../../support/llama-vocabulary.ts'
import { randomText, seededRandom } from '../../../../support/random.ts'
import { tokenizerModel } from '../../../../support/tokenizer-model.ts'

const tokenizer = new Tokenizer(llamaTokenizerModel())
const BOS = 1
const EOS = 2
const idOf = (piece: string) => tokenizer.model.pieces.findIndex(({ text }) => text === piece)
const byteIds = (text: string) => [...Buffer.from(text)].map((byte) => 3 + byte)

function deltas(ids: number[], prompt: number[] = []): string[] {
  const detokenizer = Detokenizer.after(tokenizer, prompt)
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.end()]
}

test('a code point comes out whole, with its last byte', () => {
  expect(deltas(byteIds('é中😀'))).toEqual(['', 'é', '', '', '中', '', '', '', '😀', ''])
})

test('an unfinished code point at the end becomes U+FFFD', () => {
  expect(deltas(byteIds('a中').slice(0, -1))).toEqual(['a', '', '', '\ufffd'])
  expect(deltas([...byteIds('中').slice(0, 2), idOf('ing')])).toEqual(['', '', '\ufffding', ''])
})

test('a piece that begins with a space keeps it after a prompt', () => {
  expect(deltas([idOf('▁def')], tokenizer.encode('x'))).toEqual([' def', ''])
})

test('a piece that begins with a space loses it where the whole text begins', () => {
  expect(deltas([idOf('▁def'), idOf('▁def')], [BOS])).toEqual(['def', ' def', ''])
  expect(deltas([idOf('▁def')])).toEqual(['def', ''])
})

test('only one dummy space is lost, even when it is a piece of its own', () => {
  expect(deltas([idOf('▁'), idOf('▁def')])).toEqual(['', ' def', ''])
})

test('a model that removes extra whitespace loses every space at the start', () => {
  const pieces = [{ text: '▁' }, { text: '▁a' }]
  const removing = new Tokenizer(tokenizerModel({ pieces, add_dummy_prefix: true, remove_extra_whitespaces: true }))
  const detokenizer = new Detokenizer(removing)
  expect([259, 260, 260].map((id) => detokenizer.push(id))).toEqual(['', 'a', ' a'])
})

test('a code point that the prompt began is finished by the output', () => {
  expect(deltas(byteIds('中').slice(2), byteIds('中').slice(0, 2))).toEqual(['中', ''])
})

test('control pieces have no text', () => {
  expect(deltas([BOS, idOf('ing'), EOS, idOf('ing')])).toEqual(['', 'ing', '', 'ing', ''])
})

test('an id in the padding of the vocabulary has no text', () => {
  expect(deltas([tokenizer.size, idOf('ing')])).toEqual(['', 'ing', ''])
})

test('deltas after any cut concatenate to the whole text', () => {
  const random = seededRandom()
  for (let i = 0; i < 2000; i++) {
    const ids = [BOS, ...tokenizer.encode(randomText(random)), ...byteIds('中😀').slice(random.below(7))]
    const cut = random.below(ids.length)
    const whole = deltas(ids).join('')
    const before = Detokenizer.after(tokenizer, [])
    const prompt_text = ids
      .slice(0, cut)
      .map((id) => before.push(id))
      .join('')
    expect(prompt_text + deltas(ids.slice(cut), ids.slice(0, cut)).join('')).toBe(whole)
  }
})

test('no delta ends in half a surrogate pair', () => {
  const random = seededRandom()
  for (let i = 0; i < 500; i++) {
    const ids = Array.from({ length: 20 }, () => random.below(random.chance(0.5) ? 259 : tokenizer.size))
    for (const delta of deltas(ids)) expect(delta.isWellFormed()).toBe(true)
  }
})
