import { expect, test } from 'vitest'
import { usd } from '../../contract/usd.ts'

test.each([
  ['0', '0.00'],
  ['1', '0.000000001'],
  ['1500000000', '1.50'],
  ['-1500000000', '-1.50'],
  ['100000000000', '100.00'],
  ['9223372036854775807', '9223372036.854775807'],
  ['-10', '-0.00000001'],
])('%s nano-USD are %s dollars', (nanousd, dollars) => {
  expect(usd(nanousd)).toBe(dollars)
  expect(usd(BigInt(nanousd))).toBe(dollars)
})

test('as many decimals are kept as are asked for', () => {
  expect(usd('1500000000', 9)).toBe('1.500000000')
  expect(usd('1500000000', 0)).toBe('1.5')
})
