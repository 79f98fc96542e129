// A tokenizer.json against Hugging Face's tokenizers: the ids and texts are those of make_tokenizer_json_vectors.py, the
// files are made here from the same models.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { parseTokenizerModel } from '../../../../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { parseTokenizerJson } from '../../../../../gpu-node/run/native/tokenizer/tokenizer-json.ts'
import { noisyText, seededRandom } from '../../../../support/random.ts'
import { addedToken, mergesOf, shuffled, smallPieces, tokenizerJson } from '../../../../support/tokenizer-json.ts'
import { tokenizerModels } from '../../../../support/tokenizer-models.ts'

interface Vectors {
  model: keyof typeof tokenizerModels
  variant: 'as converted' | 'shuffled' | 'added' | 'no prefix'
  merges_sha256: string
  added: { id: number; content: string; special: boolean; normalized: boolean }[]
  cases: { text: string; ids: number[]; decoded: string }[]
  decodes: { ids: number[]; text: string }[]
}

const { vectors } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/tokenizer-json.json'), 'utf8'),
) as { vectors: Vectors[] }

const load = (json: string) => new Tokenizer(parseTokenizerJson(json))
const spellings = (tokenizer: Tokenizer, text: string) =>
  tokenizer.encode(text).map((id) => tokenizer.piece(id)?.text ?? id)

test('there are vectors of every model and variant', () => {
  expect(new Set(vectors.map(({ model, variant }) => `${model} ${variant}`)).size).toBe(15)
  for (const { cases, decodes } of vectors) expect(Math.min(cases.length, decodes.length)).toBeGreaterThanOrEqual(40)
})

describe.each(vectors)('$model, $variant', ({ model, variant, merges_sha256, added, cases, decodes }) => {
  const converted = parseTokenizerModel(tokenizerModels[model]())
  const merges = mergesOf(converted)
  const used = variant === 'shuffled' ? shuffled(merges) : merges
  const tokenizer = load(
    tokenizerJson({
      pieces: converted.pieces.map(({ text }) => text),
      // Either form that the format has.
      merges: model === 'llama' ? used.map((pair) => pair.join(' ')) : used,
      prefix: variant !== 'no prefix',
      added: added.map(addedToken),
    }),
  )

  test('the file is the one that was asked', () => {
    const text = merges.map((pair) => pair.join(' ')).join('\n')
    expect(createHash('sha256').update(text).digest('hex')).toBe(merges_sha256)
  })

  test('gives the same ids, and the same text back', () => {
    for (const { text, ids, decoded } of cases) {
      const own = tokenizer.encode(text)
      if (own.join() !== ids.join()) expect(own, JSON.stringify(text)).toEqual(ids)
      expect(Detokenizer.textOf(tokenizer, own), JSON.stringify(text)).toBe(decoded)
    }
    for (const { ids, text } of decodes) expect(Detokenizer.textOf(tokenizer, ids), ids.join()).toBe(text)
  })

  test.runIf(variant === 'as converted')('gives the ids of SentencePiece', () => {
    const file = join(import.meta.dirname, `../../../../vectors/tokenizer-${model}.json`)
    const { cases } = JSON.parse(readFileSync(file, 'utf8')) as Pick<Vectors, 'cases'>
    for (const { text, ids } of cases) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
  })
})

test('the place in the list decides, not the length or the id', () => {
  const pieces = [...smallPieces(), 'c', 'bc', 'abc']
  const texts = (merges: string[]) => spellings(load(tokenizerJson({ pieces, merges, prefix: false })), 'abc')
  expect(texts(['b c', 'a b', 'a bc'])).toEqual(['abc'])
  expect(texts(['b c', 'a b', 'ab c'])).toEqual(['a', 'bc'])
  expect(texts(['a b', 'b c', 'a bc'])).toEqual(['ab', 'c'])
  expect(texts([])).toEqual(['a', 'b', 'c'])
})

test('a list that would make a special token or a byte of text does not', () => {
  const pieces = [...smallPieces(), '<', 's', '>', '<s', '0x0A>']
  const tokenizer = load(tokenizerJson({ pieces, merges: ['< s', '<s >', '< 0x0A>'], prefix: false }))
  expect(spellings(tokenizer, '<s>')).toEqual(['<s', '>'])
  expect(tokenizer.encode('<0x0A>')).not.toContain(13)
})

test('only special, added and user-defined tokens are special', () => {
  const added = [
    addedToken({ id: 262, content: '<human>' }),
    addedToken({ id: 263, content: '<cut>', special: false }),
    addedToken({ id: 264, content: 'two words', special: false, normalized: true }),
  ]
  const tokenizer = load(tokenizerJson({ added }))
  expect(['<s>', '<human>', '<cut>', 'two words'].map((text) => tokenizer.specialId(text))).toEqual([1, 262, 263, 264])
  expect(['<unk>', '<0x0A>', 'ab'].map((text) => tokenizer.specialId(text))).toEqual([null, null, null])
  expect(tokenizer.encode('a<cut>two words').filter((id) => id >= 262)).toEqual([263, 264])
  expect(tokenizer.encode('<human>').filter((id) => id >= 262)).toEqual([])
})

test('the end of a text has the tokens of the whole, and a dummy space behind a token that is cut out', () => {
  const random = seededRandom()
  const added = [
    addedToken({ id: 262, content: '<cut>', special: false }),
    addedToken({ id: 263, content: 'two words', special: false, normalized: true }),
  ]
  const tokenizer = load(tokenizerJson({ added }))
  for (let i = 0; i < 500; i++) {
    const parts = ['a', 'b', 'c', ' ', '<cut>', '<c', 'two words', 'two ', 'words']
    const text = Array.from({ length: random.below(60) }, () => random.pick(parts)).join('')
    const count = 1 + random.below(5)
    expect(tokenizer.encodeEnd(text, count), text).toEqual(tokenizer.encode(text).slice(-count))
  }
})

test('random texts come back whole, whatever the merges', () => {
  const random = seededRandom()
  const converted = parseTokenizerModel(tokenizerModels['ziya-coding-mini']())
  const pieces = converted.pieces.map(({ text }) => text)
  const tokenizer = load(tokenizerJson({ pieces, merges: shuffled(mergesOf(converted)) }))
  for (let i = 0; i < 5000; i++) {
    const text = noisyText(random)
    const own = Detokenizer.textOf(tokenizer, tokenizer.encode(text))
    if (own !== text.toWellFormed()) expect(own).toBe(text)
  }
})
