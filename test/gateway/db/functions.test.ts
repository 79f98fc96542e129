// The table of the functions of the boundary: nothing else names one in SQL, and how each is carried follows from its row.

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { followUp, functions, inPlaceOf } from '../../../gateway/db/functions.ts'

const root = join(import.meta.dirname, '../../..')

test('no SQL outside of migrations/ calls a function by its name', () => {
  const named = new RegExp(`\\b(select|from)\\s+(api\\.\\w+|${Object.keys(functions).join('|')})\\s*\\(`)
  const files = globSync('{contract,gateway,local,bench}/**/*.ts', { cwd: root, exclude: ['**/node_modules/**'] })
  const lines = files.flatMap((file) =>
    readFileSync(join(root, file), 'utf8')
      .split('\n')
      .flatMap((line, i) => (named.test(line) ? [`${file}:${i + 1}: ${line.trim()}`] : [])),
  )
  expect(lines).toEqual([])
  expect(files.length).toBeGreaterThan(50)
})

test('an admission that came too late is given back as its first attempt, and a refused one is not', () => {
  const item = {
    request_id: 'r',
    key_hash: '00',
    model: 'm',
    prompt_tokens_max: 1,
    request_output_tokens_max: 1,
    ttl_ms: 1,
  }
  const reserved = { account_id: '1', key_id: '2', price_version: 3, reserved_nanousd: '4' }
  const admitted = { decision: 'admitted' as const, ...reserved, balance_nanousd: '5', ledger_id: 'l', nodes: [] }
  expect(followUp('admit', item, admitted)).toEqual({
    name: 'void',
    item: { request_id: 'r', model: 'm', attempt: 1, ...reserved },
  })
  expect(followUp('admit', item, { decision: 'no_price' })).toBeNull()
  expect(followUp('fence', { request_id: 'r', account_id: '1', attempt: 2 }, { decision: 'fenced' })).toBeNull()
})

test('an admission is asked for once; what became of it is asked of another function', () => {
  const item = {
    request_id: 'r',
    key_hash: '00',
    model: 'm',
    prompt_tokens_max: 1,
    request_output_tokens_max: 1,
    ttl_ms: 1,
  }
  const call = { name: 'resolve_admission', item: { request_id: 'r', key_hash: '00', model: 'm', is_wanted: true } }
  expect(inPlaceOf('admit', item, true)).toEqual(call)
  const names = Object.entries(functions).flatMap(([name, { unknown }]) => (unknown ? [name] : []))
  expect(names).toEqual(['admit'])
})

test('what must end is what holds money and what gives it back', () => {
  const names = Object.entries(functions).flatMap(([name, { must_end }]) => (must_end ? [name] : []))
  expect(names.sort()).toEqual(['resolve_admission', 'void'])
})
