// A parameter that is written into the statement arrives as it was sent, and ends nothing.

import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StatementRefused } from '../../../gateway/db/connection.ts'
import { withLiterals } from '../../../gateway/db/literal.ts'
import { startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { seededRandom } from '../../support/random.ts'

const PIECES = [
  "'",
  '\\',
  '"',
  '$1',
  '$2',
  '$$',
  ';',
  '--',
  '/*',
  "E'",
  "\\'",
  '\n',
  '\x01',
  '%',
  ' ',
  'a',
  'é',
  '日',
  '😀',
]

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

describe.each(['on', 'off'])('with standard_conforming_strings = %s', (setting) => {
  test('texts of quotes, backslashes and parameters', async () => {
    const sql = postgres(db.url, { max: 1, fetch_types: false, onnotice: () => {} })
    await sql.unsafe(`set standard_conforming_strings = ${setting}`)
    const random = seededRandom()
    const text = () => Array.from({ length: random.below(8) }, () => random.pick(PIECES)).join('')
    for (let n = 0; n < 500; n += 1) {
      const params = [text(), text(), n]
      const [row] = await sql.unsafe(withLiterals('select $1 as a, $2 as b, $1 as again, $3::int as n', params))
      expect(row).toEqual({ a: params[0], b: params[1], again: params[0], n })
    }
    await sql.end()
  })
})

test('a parameter has the type that its place gives it, and null is null', async () => {
  const text = withLiterals(
    'select id = $1 as same, $2::text as nothing from (select 9223372036854775807 as id) as one limit $3',
    [9223372036854775807n, null, 1],
  )
  expect(await db.sql.unsafe(text)).toEqual([{ same: true, nothing: null }])
})

test('the tenth parameter is not the first', () => {
  expect(withLiterals('$1 $10', [...'abcdefghij'])).toBe(" E'a'  E'j'")
})

test('a zero byte is refused, and what has no literal is a mistake of ours', () => {
  expect(() => withLiterals('select $1', ['a\0b'])).toThrow(StatementRefused)
  for (const value of [undefined, {}, ['a'], new Date(0)])
    expect(() => withLiterals('select $1', [value])).toThrow(TypeError)
})
