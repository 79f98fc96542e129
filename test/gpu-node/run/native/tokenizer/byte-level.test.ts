// Byte-level tokenizers against Hugging Face's: the files, ids and texts are those of make_byte_level_vectors.py, and of the file that
// BYTE_LEVEL names beside them.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { tokenBytes } from '../../../../../gpu-node/run/native/grammar/vocabulary.ts'
import {
  isBetweenWords,
  kindOf,
  letterOf,
  type WordRule,
  wordsOf,
} from '../../../../../gpu-node/run/native/tokenizer/byte-level.ts'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { parseTokenizerJson } from '../../../../../gpu-node/run/native/tokenizer/tokenizer-json.ts'
import { noisyText, seededRandom } from '../../../../support/random.ts'

interface Vectors {
  classes: string
  variants: { variant: string; tokenizer: File; cases: { text: string; ids: number[]; decoded: string }[] }[]
}

interface File {
  pre_tokenizer: unknown
  model: { vocab: Record<string, number>; merges: unknown[] }
}

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Vectors
const kept = read(join(import.meta.dirname, '../../../../vectors/byte-level.json'))
const others = process.env.BYTE_LEVEL ? read(process.env.BYTE_LEVEL).variants : []
const load = (file: object) => new Tokenizer(parseTokenizerJson(JSON.stringify(file)), null)
const [starcoder] = kept.variants
const RULES: WordRule[] = [
  ['gpt2'],
  ['numerals_each_alone', 'gpt2'],
  ['numerals_in_runs', 'gpt2'],
  ['llama3'],
  ['line_ends', 'letters', 'punctuation', 'east_asian', 'numerals_each_alone'],
]

describe.each([...kept.variants, ...others])('$variant, $tokenizer.model.merges.length merges', (variant) => {
  const tokenizer = load(variant.tokenizer)

  test('texts have the same ids, and the same text back', () => {
    for (const { text, ids, decoded } of variant.cases) {
      const own = tokenizer.encode(text)
      if (own.join() !== ids.join()) expect(own, JSON.stringify(text)).toEqual(ids)
      if (Detokenizer.textOf(tokenizer, own) !== decoded) expect(Detokenizer.textOf(tokenizer, own)).toBe(decoded)
    }
    expect(variant.cases.length).toBeGreaterThanOrEqual(60)
  })

  test('the end of a text has the tokens of the whole', () => {
    const cut = variant.cases.map(({ text, ids }) => {
      const count = Math.ceil(ids.length / 2)
      const end = tokenizer.encodeEnd(text, count)
      if (end?.join() !== ids.slice(-count).join() && ids.length > 0) expect(end, text).toEqual(ids.slice(-count))
      return end
    })
    expect(cut.length).toBe(variant.cases.length)
  })
})

test('every code point is of the kind that the published splitters see in it', () => {
  const numeral = /\p{N}/u
  let kinds = ''
  for (let point = 0; point < 0x110000; point++) {
    if (point >= 0xd800 && point <= 0xdfff) continue
    const character = String.fromCodePoint(point)
    const kind = kindOf(character)[0]!
    kinds += numeral.test(character) ? kind.toUpperCase() : kind
  }
  expect(createHash('sha256').update(kinds).digest('hex')).toBe(kept.classes)
})

test('random texts come back whole, and their words are the text', () => {
  const random = seededRandom()
  const tokenizer = load(starcoder!.tokenizer)
  for (let i = 0; i < 1000; i++) {
    const text = noisyText(random).toWellFormed()
    for (const rule of RULES) expect(wordsOf(text, rule).join('')).toBe(text)
    expect(Detokenizer.textOf(tokenizer, tokenizer.encode(text))).toBe(text)
  }
})

test('a word surely ends at no place where one may go on, and at others', () => {
  const surely = (before: string, behind: string, rule: WordRule = ['gpt2']) =>
    isBetweenWords(before + behind, before.length, rule)
  for (const [before, behind] of [
    ["don'", 't'],
    ["'", 's'],
    ["they'", 've'],
    ['a', 'b'],
    ['1', '2'],
    ['+', '='],
    [' ', 'a'],
  ])
    expect([before, behind, surely(before!, behind!)]).toEqual([before, behind, false])
  for (const [before, behind] of [
    ['don', "'t"],
    ['a', ' b'],
    ['a', '1'],
    ['(', 'a'],
    ['"', 's'],
    ['a', '.'],
  ])
    expect([before, behind, surely(before!, behind!)]).toEqual([before, behind, true])
  expect(surely('(', 'a', ['llama3'])).toBe(false)
  expect(surely('a', '(', ['llama3'])).toBe(true)
})

test('a long text is read from where a word surely begins', () => {
  const random = seededRandom()
  for (const { tokenizer: file } of kept.variants) {
    const tokenizer = load(file)
    const longest = Math.max(...Object.keys(file.model.vocab).map(({ length }) => length))
    for (let i = 0; i < 60; i++) {
      const parts = ["'s", "'", 'x', ' ', '  ', '\n', '1', '½', '(', 'def', '中', '😀', '\u0301', '<|cut|>', '\ufeff']
      const text = Array.from({ length: 4000 }, () => random.pick(parts)).join('')
      const count = 1 + random.below(40)
      expect(text.length).toBeGreaterThan(count * longest)
      expect(tokenizer.encodeEnd(text, count)).toEqual(tokenizer.encode(text).slice(-count))
    }
  }
})

test('text comes as soon as its bytes are whole, whatever tokens they are cut into', () => {
  const random = seededRandom()
  const tokenizer = load(starcoder!.tokenizer)
  const { vocab } = starcoder!.tokenizer.model
  const idOf = (byte: number) => vocab[letterOf(byte)]!
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.concat(
      Array.from({ length: 6 }, () =>
        random.pick([Buffer.from(random.pick(['a', 'é', '中', '😀', ' '])), Buffer.from([random.below(256)])]),
      ),
    )
    const detokenizer = new Detokenizer(tokenizer)
    const whole = [...bytes].map((byte) => detokenizer.push(idOf(byte))).join('') + detokenizer.end()
    expect(whole).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes))
  }
  const { bytes, ends } = tokenBytes(tokenizer, tokenizer.size, { at_start: true })
  const a = vocab[letterOf(0xe4)]!
  expect([...bytes.subarray(ends[a - 1], ends[a])]).toEqual([0xe4])
})

test('a special token is never found in text, and has a place of its own in a prompt', () => {
  const tokenizer = load(starcoder!.tokenizer)
  expect(tokenizer.encode('<fim_prefix>')).not.toContain(1)
  const infill = ['<fim_prefix>', 'a', '<fim_suffix>', 'b', '<fim_middle>'].map((text) =>
    text.startsWith('<') ? { special: text } : { text },
  )
  const { vocab } = starcoder!.tokenizer.model
  expect(encodePrompt(infill, tokenizer)).toEqual([1, vocab.a, 3, vocab.b, 2])
  expect(tokenizer.piece(1)).toMatchObject({ type: 'control' })
})

test.each([
  [
    'a space before the text',
    { pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true, use_regex: true } },
    'pre_tokenizer',
  ],
  ['no words', { pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } }, 'pre_tokenizer'],
  [
    'another splitter before it',
    {
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Punctuation', behavior: 'Isolated' },
          { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
        ],
      },
    },
    'pre_tokenizer',
  ],
  ['a normalizer', { normalizer: { type: 'NFC' } }, 'normalizer'],
  ['another decoder', { decoder: { type: 'Fuse' } }, 'decoder'],
])('%s is refused by name', (_, changes, named) => {
  expect(() => load({ ...starcoder!.tokenizer, ...changes })).toThrow(
    expect.objectContaining({ code: 'tokenizer_unsupported', message: expect.stringContaining(named) as string }),
  )
})

describe('a vocabulary without the piece of a byte', () => {
  const without = (byte: number, unk_token: string | null) => {
    const { vocab, merges } = starcoder!.tokenizer.model
    const letter = letterOf(byte)
    const others = Object.fromEntries(
      Object.entries(vocab).map(([piece, id]) => [piece.includes(letter) ? `~~${id}~~` : piece, id]),
    )
    const kept = merges.filter((merge) => !JSON.stringify(merge).includes(letter))
    return load({ ...starcoder!.tokenizer, model: { type: 'BPE', vocab: others, merges: kept, unk_token } })
  }

  test.each([
    [0x41, null],
    [0xbf, null],
    [0xe4, '<|endoftext|>'],
  ])('%i that a text needs, where the unknown is %s, is refused by name', (byte, unk_token) => {
    expect(() => without(byte, unk_token)).toThrow(`the piece of byte ${byte}`)
  })

  test('that no text has is as good as one with it', () => {
    for (const byte of [0xc0, 0xc1, 0xf5, 0xff])
      expect(without(byte, '<|endoftext|>').encode('中 x')).toEqual(load(starcoder!.tokenizer).encode('中 x'))
  })

  test('that begins characters drops it, so that a text still has tokens', () => {
    const tokenizer = without(0xe4, null)
    const ids = tokenizer.encode('中'.repeat(100))
    expect(Detokenizer.textOf(tokenizer, ids)).toBe('\ufffd\ufffd'.repeat(100)) // b8 and ad are left of each
    expect(tokenizer.tokensMin('中'.repeat(100))).toBeGreaterThan(0)
    expect(tokenizer.encodeEnd('中 '.repeat(100), 7)).toEqual(tokenizer.encode('中 '.repeat(100)).slice(-7))
  })
})
