// CSV: what a spreadsheet would run, and what it must read as a number.

import { expect, test } from 'vitest'
import { csvText } from '../../../gateway/billing/csv.ts'

test.each(['=1+1', '+1', '@SUM(A1)', '-1+1', '-2+cmd|calc!A1', '-', '-1.5', '\t=1', '\r=1', '\n=1'])(
  'the formula %j is led by a quote',
  (formula) => {
    expect(csvText([[formula]]).replace(/^"/, '')).toMatch(/^'/)
  },
)

test.each(['-1', '-12345678901234567890', '0', '7', '', 'a-1', 'grant'])('%j stays as it is', (text) => {
  expect(csvText([[text]])).toBe(`${text}\r\n`)
})

test('a comma, a quote and a line end are inside quotes', () => {
  expect(csvText([['a,b', 'say "no"', 'two\nlines']])).toBe('"a,b","say ""no""","two\nlines"\r\n')
})
