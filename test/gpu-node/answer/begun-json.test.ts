// What there is of an object that was cut anywhere: a part of the whole, and all of it where it was not.

import { expect, test } from 'vitest'
import { membersOf } from '../../../gpu-node/answer/begun-json.ts'
import { seededRandom } from '../../support/random.ts'

test.each<[string, object]>([
  ['', {}],
  ['{', {}],
  ['{"a": 1', {}],
  ['{"a": 1,', { a: 1 }],
  ['{"a": "x", "b": [1, {"c": "}', { a: 'x', b: [1, {}] }],
  ['{"a": "\\"{,", "b": ', { a: '"{,' }],
  ['{"a": {"b": [[]], "c": nul', { a: { b: [[]] } }],
  ['{"a": {}}', { a: {} }],
])('%s', (text, expected) => {
  expect(membersOf(text)).toEqual(expected)
})

test('any object, cut anywhere, is a part of itself', () => {
  const random = seededRandom()
  const value = (depth: number): unknown =>
    depth > 3 || random.chance(0.4)
      ? random.pick<unknown>([0, -1.5e9, true, null, '', 'a,b', '\\', '"}]', '写', '{"'])
      : random.chance(0.5)
        ? Array.from({ length: random.below(4) }, () => value(depth + 1))
        : object(depth + 1)
  const object = (depth: number) =>
    Object.fromEntries(Array.from({ length: random.below(5) }, (_, i) => [`k${i}`, value(depth)]))
  for (let i = 0; i < 200; i++) {
    const whole = object(0)
    const text = random.chance(0.5) ? JSON.stringify(whole) : JSON.stringify(whole, null, 1)
    expect(membersOf(text)).toEqual(whole)
    const cut = membersOf(text.slice(0, random.below(text.length)))
    expectPart(cut, whole)
  }
})

function expectPart(part: unknown, whole: unknown): void {
  if (typeof part !== 'object' || part === null) expect(part).toEqual(whole)
  else for (const [key, member] of Object.entries(part)) expectPart(member, (whole as Record<string, unknown>)[key])
}
