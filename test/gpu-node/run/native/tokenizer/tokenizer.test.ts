import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { testData } from '../../../../support/data.ts'
import { draws } from '../../../../support/draws.ts'
import { noisyText, seededRandom } from '../../../../support/random.ts'
import { tokenizerModel } from '../../../../support/tokenizer-model.ts'
import { tokenizerModels } from '../../../../support/tokenizer-models.ts'

interface Vectors {
  cases: { text: string; ids: number[]; decoded: string }[]
  decodes: { ids: number[]; text: string }[]
}

const load = (model: keyof typeof tokenizerModels) => new Tokenizer(tokenizerModels[model]())
const vectors = (model: keyof typeof tokenizerModels) =>
  JSON.parse(readFileSync(join(import.meta.dirname, `../../../../vectors/tokenizer-${model}.json`), 'utf8')) as Vectors

function decode(tokenizer: Tokenizer, ids: number[]): string {
  const detokenizer = new Detokenizer(tokenizer)
  return ids.map((id) => detokenizer.push(id)).join('') + detokenizer.end()
}

test("llama.cpp's 46 vectors hold", () => {
  const published = JSON.parse(readFileSync(testData('tokenizer/llama-cpp.json'), 'utf8')) as {
    text: string
    ids_no_bos: number[]
  }[]
  expect(published).toHaveLength(46)
  const tokenizer = load('llama')
  for (const { text, ids_no_bos } of published) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids_no_bos)
})

describe.each(Object.keys(tokenizerModels) as (keyof typeof tokenizerModels)[])(
  "Google's SentencePiece on %s",
  (model) => {
    const tokenizer = load(model)
    const { cases, decodes } = vectors(model)

    test('gives the same ids', () => {
      expect(cases.length).toBeGreaterThanOrEqual(200)
      for (const { text, ids } of cases) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
    })

    test('gives the same text back', () => {
      for (const { ids, decoded } of cases) expect(decode(tokenizer, ids)).toBe(decoded)
      for (const { ids, text } of decodes) expect(decode(tokenizer, ids), ids.join()).toBe(text)
    })
  },
)

/** The text of all ids at once: the bytes of their pieces, without the dummy space before the first. */
function decodeAtOnce(tokenizer: Tokenizer, ids: number[]): string {
  const bytes = ids.map((id) => {
    const { type, text } = tokenizer.piece(id)!
    return type === 'byte' ? Buffer.from(text.slice(3, 5), 'hex') : Buffer.from(text.replaceAll('\u2581', ' '))
  })
  return Buffer.concat(bytes).toString().slice(1)
}

const TEXTS = draws('TEXTS', { few: 8000, all: 100_000 })

test(`${TEXTS} random texts come back whole, streamed id by id or decoded at once`, () => {
  const random = seededRandom()
  const tokenizer = load('llama')
  for (let i = 0; i < TEXTS; i++) {
    const text = noisyText(random)
    const ids = tokenizer.encode(text)
    const [streamed, whole] = [decode(tokenizer, ids), decodeAtOnce(tokenizer, ids)]
    if (streamed !== whole || whole !== text.toWellFormed())
      expect([streamed, whole], JSON.stringify(text)).toEqual([text, text])
  }
})

test('lone surrogates become U+FFFD', () => {
  const tokenizer = load('llama')
  expect(tokenizer.encode('a\ud800b\udc00')).toEqual(tokenizer.encode('a\ufffdb\ufffd'))
})

test('special pieces written in text stay text', () => {
  const tokenizer = load('llama')
  const ids = tokenizer.encode('<s></s><unk><0x0A>')
  expect(ids.filter((id) => tokenizer.piece(id)!.type !== 'normal')).toEqual([])
  expect(decode(tokenizer, ids)).toBe('<s></s><unk><0x0A>')
})

test('only control and user-defined pieces are special', () => {
  const tokenizer = load('llama')
  expect(tokenizer.specialId('<s>')).toBe(1)
  expect(tokenizer.specialId('</s>')).toBe(2)
  expect(['<unk>', '<0x0A>', 'ing', 'nothing like it'].map((text) => tokenizer.specialId(text))).toEqual([
    null,
    null,
    null,
    null,
  ])
})

test('user-defined pieces are cut out before anything merges, the longest first', () => {
  const tokenizer = new Tokenizer(
    tokenizerModel({
      pieces: [
        { text: 'a', score: -1 },
        { text: 'ab', score: -2 },
        { text: 'b<x', score: -3 },
        { text: '<x>', type: 4 },
        { text: '<x>y', type: 4 },
      ],
    }),
  )
  const texts = (text: string) => tokenizer.encode(text).map((id) => tokenizer.piece(id)!.text)
  expect(texts('ab<x>ab<x>yab')).toEqual(['ab', '<x>', 'ab', '<x>y', 'ab'])
})

test('extra whitespace goes where the model says so', () => {
  const pieces = [
    { text: '\u2581', score: -1 },
    { text: 'a', score: -2 },
  ]
  const texts = (remove_extra_whitespaces: boolean) => {
    const tokenizer = new Tokenizer(tokenizerModel({ pieces, remove_extra_whitespaces, add_dummy_prefix: true }))
    return tokenizer.encode('  a   a ').map((id) => tokenizer.piece(id)!.text)
  }
  expect(texts(true)).toEqual(['\u2581', 'a', '\u2581', 'a'])
  expect(texts(false)).toEqual(['\u2581', '\u2581', '\u2581', 'a', '\u2581', '\u2581', '\u2581', 'a', '\u2581'])
})

test('equal scores merge from the left', () => {
  const pieces = ['a', 'aa', 'aaa'].map((text) => ({ text, score: -1 }))
  const tokenizer = new Tokenizer(tokenizerModel({ pieces }))
  expect(tokenizer.encode('aaaaa').map((id) => tokenizer.piece(id)!.text)).toEqual(['aaa', 'aa'])
})

test('time grows with the text, not with its square', () => {
  const tokenizer = load('llama')
  const cpuMilliseconds = (text: string) => {
    const started = process.cpuUsage()
    tokenizer.encode(text)
    const { user, system } = process.cpuUsage(started)
    return (user + system) / 1000
  }
  cpuMilliseconds('a'.repeat(20_000)) // warm
  for (const text of ['a', ' ', 'ab1 ', '写一段']) {
    const short = Math.max(cpuMilliseconds(text.repeat(20_000 / text.length)), 5)
    expect(cpuMilliseconds(text.repeat(400_000 / text.length))).toBeLessThan(short * 100) // 20 × the text; its square is 400 ×
  }
})

describe.each(Object.keys(tokenizerModels) as (keyof typeof tokenizerModels)[])('the end of a text on %s', (model) => {
  const tokenizer = load(model)

  test('has the tokens that it has in the whole text', () => {
    const random = seededRandom()
    for (let i = 0; i < draws('CUT_TEXTS', { few: 60, all: 3000 }); i++) {
      const text = Array.from({ length: 1 + random.below(60) }, () => noisyText(random)).join(
        random.pick(['', ' ', '\n', 'a']),
      )
      const count = 1 + random.below(random.pick([2, 30]))
      expect(tokenizer.encodeEnd(text, count), JSON.stringify(text)).toEqual(tokenizer.encode(text).slice(-count))
    }
  })

  test('is found without reading all of it, or not at all', () => {
    const long = 'def sort(names): return sorted(names)\n'.repeat(50_000)
    expect(tokenizer.encodeEnd(long, 100)).toEqual(tokenizer.encode(long.slice(-37 * 200)).slice(-100))
    const end = tokenizer.encodeEnd(' '.repeat(2_000_000), 100)
    if (model === 'stories260k') expect(end).toEqual(tokenizer.encode(' '.repeat(100)).slice(-100))
    else expect(end).toBeNull() // a piece has two spaces, so a token may begin anywhere
  })
})

test('a piece that is cut out of a text, and the space that it puts behind it, stay so in the end of a text', () => {
  const pieces = [{ text: '▁' }, { text: '▁a' }, { text: 'ab' }, { text: '<x>', type: 4 }]
  const cutting = new Tokenizer(tokenizerModel({ pieces, add_dummy_prefix: true }))
  const random = seededRandom()
  for (let i = 0; i < 300; i++) {
    const text = Array.from({ length: random.below(80) }, () =>
      random.pick(['a', 'b', ' ', '<x>', '<', 'x>', 'c']),
    ).join('')
    const count = 1 + random.below(4)
    expect(cutting.encodeEnd(text, count), text).toEqual(cutting.encode(text).slice(-count))
  }
})
