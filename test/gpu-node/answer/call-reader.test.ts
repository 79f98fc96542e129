// The same parts, however a text is cut into pieces.

import { expect, test } from 'vitest'
import { CALL_SEPARATOR, CALL_TAIL, callHead } from '../../../contract/internal/tool-call.ts'
import { CallReader, type Part } from '../../../gpu-node/answer/call-reader.ts'
import { type Random, seededRandom } from '../../support/random.ts'

const NAMES = ['weather', 'now', 'weather_of']
const call = (name: string, text: string) => callHead(name) + text + CALL_TAIL

function read(pieces: readonly string[]) {
  const reader = new CallReader(NAMES)
  const parts = [...pieces.flatMap((piece) => reader.push(piece)), ...reader.flush()]
  return { ...joined(parts), has_called: reader.has_called }
}

function joined(parts: readonly Part[]) {
  const calls: { name: string; arguments: string }[] = []
  let text = ''
  for (const part of parts) {
    if (part.kind === 'text') text += part.text
    else if (part.kind === 'call') expect(calls.push({ name: part.name, arguments: '' })).toBe(part.index + 1)
    else calls[part.index]!.arguments += part.text
  }
  return { text, calls }
}

test.each<[string, string, ReturnType<typeof read>]>([
  ['text alone', 'a < b\n<tool', { text: 'a < b\n<tool', calls: [], has_called: false }],
  ['a call', call('now', '{}'), { text: '', calls: [{ name: 'now', arguments: '{}' }], has_called: true }],
  [
    'calls behind a text',
    ['I ask.\n', call('weather', '{"a": "}\\"{", "b": {"c": [{}]}}'), call('weather_of', '{ }')].join(CALL_SEPARATOR),
    {
      text: 'I ask.\n',
      calls: [
        { name: 'weather', arguments: '{"a": "}\\"{", "b": {"c": [{}]}}' },
        { name: 'weather_of', arguments: '{ }' },
      ],
      has_called: true,
    },
  ],
  [
    'a call that is cut in its arguments',
    `${callHead('now')}{"a": "`,
    { text: '', calls: [{ name: 'now', arguments: '{"a": "' }], has_called: false },
  ],
  [
    'a call that is cut in its tail',
    call('now', '{}').slice(0, -3),
    { text: '', calls: [{ name: 'now', arguments: '{}' }], has_called: false },
  ],
  ['what only begins like a call', callHead('later'), { text: callHead('later'), calls: [], has_called: false }],
  [
    'a line break before what only begins like a call',
    `a\n${callHead('later')}`,
    { text: `a\n${callHead('later')}`, calls: [], has_called: false },
  ],
])('%s', (_, text, expected) => {
  expect(read([text])).toEqual(expected)
  expect(read([...text])).toEqual(expected)
})

test('any text, cut anywhere, is read as it is whole, and nothing of it is lost', () => {
  const random = seededRandom()
  for (let i = 0; i < 1000; i++) {
    const text = drawText(random)
    const whole = read([text])
    expect(read(cutUp(random, text)), JSON.stringify(text)).toEqual(whole)
    if (whole.calls.length === 0) expect(whole.text).toBe(text)
  }
})

test('a piece of a text that cannot begin a call is not held back', () => {
  const reader = new CallReader(NAMES)
  expect(reader.push('a\n')).toEqual([{ kind: 'text', text: 'a' }])
  expect(reader.push('b')).toEqual([{ kind: 'text', text: '\nb' }])
  expect(reader.push('<tool_call>{"name": "no')).toEqual([])
  expect(reader.push('w", "arguments": {"a')).toEqual([
    { kind: 'call', index: 0, name: 'now' },
    { kind: 'arguments', index: 0, text: '{"a' },
  ])
})

function drawText(random: Random): string {
  const pieces = ['a', '\n', '<', '<tool_call>', '{"name": "now', '{}', '}</tool_call>', '"', '\\']
  const whole = () => call(random.pick(NAMES), random.pick(['{}', '{"a":"\\\\"}', '{"b":{"}":1}}']))
  return Array.from({ length: random.below(12) }, () => (random.chance(0.3) ? whole() : random.pick(pieces))).join('')
}

function cutUp(random: Random, text: string): string[] {
  const pieces: string[] = []
  for (let at = 0; at < text.length; ) {
    const end = at + 1 + random.below(6)
    pieces.push(text.slice(at, end))
    at = end
  }
  return pieces
}
