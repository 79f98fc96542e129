import { expect, test } from 'vitest'
import { Detokenizer } from '../../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { LogprobQueue } from '../../../../../gpu-node/run/text/logprobs.ts'
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

/** Each byte's code point in the text that these bytes are, by the standard's table of what is well-formed; broken parts are one U+FFFD. */
function codePointsOf(bytes: number[]): { text: string; places: number[] } {
  const places: number[] = []
  let text = ''
  let count = 0
  for (let at = 0; at < bytes.length; count++) {
    const length = partLength(bytes, at)
    for (let i = 0; i < length; i++) places.push(count)
    const part = Buffer.from(bytes.slice(at, at + length))
    text +=
      part.toString('latin1') === Buffer.from(part.toString('utf8')).toString('latin1')
        ? part.toString('utf8')
        : '\ufffd'
    at += length
  }
  return { text, places }
}

/** Bytes of the code point that begins there, or of the longest beginning of one; one where none begins. */
function partLength(bytes: number[], at: number): number {
  const first = bytes[at]!
  const within = (low: number, high: number, value: number | undefined) =>
    value !== undefined && value >= low && value <= high
  const length = within(0xc2, 0xdf, first) ? 2 : within(0xe0, 0xef, first) ? 3 : within(0xf0, 0xf4, first) ? 4 : 1
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
  if (length === 1 || !within(low, high, bytes[at + 1])) return 1
  let taken = 2
  while (taken < length && within(0x80, 0xbf, bytes[at + taken])) taken++
  return taken
}

test('every token, of whole and of broken UTF-8, lies at the code point that its bytes are of', () => {
  const random = seededRandom()
  const likely = [
    0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xe4, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff,
    0xbd,
  ]
  for (let i = 0; i < 3000; i++) {
    const runs = Array.from({ length: 1 + random.below(4) }, () => {
      const bytes = Array.from({ length: random.below(9) }, () =>
        random.chance(0.8) ? random.pick(likely) : random.below(256),
      )
      return random.chance(0.3) ? [...Buffer.from(random.pick(['é', '中', '😀', '\ufffd', '\ufeff']))] : bytes
    })
    const queue = new LogprobQueue()
    const detokenizer = new Detokenizer(tokenizer)
    const told: { offset: number; bytes: number[] | null }[] = []
    const push = (id: number) => {
      const surface = detokenizer.surface(id)
      const completed = detokenizer.take(id)
      queue.push(completed, { ...surface, logprob: -1, top: [] })
      const text = completed.unfinished + completed.text
      told.push(...queue.release(text, { ends: false, stopped: false }))
      return text
    }
    const expected: { offset: number; bytes: number[] | null }[] = []
    let [text, wanted, offset] = ['', '', 0]
    for (const run of runs) {
      const { text: own, places } = codePointsOf(run)
      for (const byte of run) text += push(3 + byte)
      expected.push(...run.map((byte, at) => ({ offset: offset + places[at]!, bytes: [byte] })))
      wanted += `${own}ing`
      offset += [...own].length
      text += push(idOf('ing'))
      expected.push({ offset, bytes: [...Buffer.from('ing')] })
      offset += 3
    }
    text += detokenizer.end()
    told.push(...queue.release('', { ends: true, stopped: false }))
    expect(text).toBe(wanted)
    expect(told.map(({ offset, bytes }) => ({ offset, bytes }))).toEqual(expected)
  }
})
