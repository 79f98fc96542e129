import fc from 'fast-check'
import { expect, test } from 'vitest'
import { excessOf } from '../../../gateway/field/excess.ts'

const DEPTH_MAX = 32

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

test('whatever is written in texts, JSON is judged by what it holds: by nothing but its depth where it is small', () => {
  const noise = fc.oneof(fc.string(), fc.constantFrom('[[[', '{"a":', '\\"', ',,,', 'prompt', '"prompt"'))
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ depthSize: 'large', maxDepth: 40 }, noise, fc.integer(), fc.boolean(), tie('list'), tie('object')),
    list: fc.array(tie('any'), { maxLength: 3 }),
    object: fc.dictionary(noise, tie('any'), { maxKeys: 3 }),
  })).any
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 1), (json, space) => {
      expect(excessOf(JSON.stringify(json, null, space))).toBe(depthOf(json) > DEPTH_MAX ? 'depth' : null)
    }),
  )
})

test('members of all arrays and objects count together; only token ids of a prompt may be more', () => {
  const list = (count: number, member = '"a"') => `[${Array.from({ length: count }, () => member)}]`
  expect(excessOf(`{"messages":${list(16_000)}}`)).toBeNull()
  expect(excessOf(`{"messages":${list(17_000)}}`)).toBe('members')
  expect(excessOf(`{"messages":[${Array.from({ length: 20 }, () => list(900, '1'))}]}`)).toBe('members')
  expect(excessOf(`{"prompt":${list(400_000, '1')}}`)).toBeNull()
  expect(excessOf(`{"prompt":${list(600_000, '1')}}`)).toBe('members')
  expect(excessOf(`{"prompt":${list(17_000)}}`)).toBe('members')
  expect(excessOf(`{"prompt":[1,2],"stop":${list(17_000, '1')}}`)).toBe('members')
  expect(excessOf(`{"stop":${list(17_000, '1')},"prompt":[1]}`)).toBe('members')
})

test('what is no JSON is looked at to its end, and no further', () => {
  for (const text of ['', '"', '"\\', '[', ']]]]', '{"prompt"', ',', '\\', `"${'\\"'.repeat(1000)}`])
    expect(excessOf(text)).toBeNull()
})
