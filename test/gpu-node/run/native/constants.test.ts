// What stands in TypeScript and in C++ is the same, or nothing is loaded.

import { describe, expect, test } from 'vitest'
import { CONSTANTS, openAddon, requireSameConstants } from '../../../../gpu-node/run/native/engine.ts'
import { type PackedRow, ROW_LAYOUT, RowTable, unpackRows } from '../../../../gpu-node/run/native/row-table.ts'

test('the addon has the numbers that TypeScript has', () => {
  expect(openAddon().constants).toEqual(CONSTANTS)
})

describe('an addon is refused', () => {
  const { row, ...numbers } = CONSTANTS as typeof CONSTANTS & { row: Record<string, number> }
  const refused = (name: string) =>
    expect.objectContaining({ code: 'addon_mismatch', message: expect.stringContaining(name) })

  test.each(Object.keys(numbers))('with another %s', (name) => {
    const changed = { ...CONSTANTS, [name]: (numbers[name] as number) + 1 }
    expect(() => requireSameConstants(changed)).toThrow(refused(` ${name} `))
  })

  test.each(Object.keys(row))('whose rows have another %s', (name) => {
    const changed = { ...CONSTANTS, row: { ...row, [name]: row[name]! + 4 } }
    expect(() => requireSameConstants(changed)).toThrow(refused(` row.${name} `))
  })

  test('that lacks one of them, or has one more', () => {
    const { block_tokens: _, ...fewer } = CONSTANTS
    expect(() => requireSameConstants(fewer)).toThrow(refused(' block_tokens undefined '))
    expect(() => requireSameConstants({ ...CONSTANTS, row: { ...row, mirostat: 84 } })).toThrow(
      refused(' row.mirostat 84 '),
    )
  })
})

test('rows are read as they were written, and no two fields share their bytes', () => {
  const rows = [1, 101].map(
    (n): PackedRow => ({
      ...{ seed: BigInt(n) << 40n, token: n, counter: n + 1, temperature: n + 2, top_p: n + 3, min_p: n + 4 },
      ...{ repetition_penalty: n + 5, frequency_penalty: n + 6, presence_penalty: n + 7, top_k: n + 8 },
      ...{ logprobs: -1, output_tokens: n + 9, history: { begin: n + 10, count: n + 11 } },
      ...{ bias: { begin: n + 12, count: n + 13 }, banned: { begin: n + 14, count: n + 15 } },
      mask: { begin: n + 16, count: n + 17 },
      scored: n + 18,
    }),
  )
  const table = new RowTable(rows.length)
  for (const [i, each] of rows.entries()) table.set(i, each)
  expect(table.bytes).toHaveLength(rows.length * ROW_LAYOUT.bytes)
  expect(unpackRows(table.bytes)).toEqual(rows)
})
