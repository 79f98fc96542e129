// The copy of the catalog that an isolate has: when it is looked after, who waits for that, and what holds while nobody answers.

import { beforeEach, expect, test, vi } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { Asking } from '../../../gateway/env.ts'
import { settings } from '../../support/webhook-sender.ts'

let published: { version: number; ids: string[] } | null
let is_away: boolean
let asked: (number | null)[]
let behind: Promise<unknown>[]
let catalogOf: (c: Asking) => Promise<Catalog>

// Each test has an isolate of its own.
beforeEach(async () => {
  published = { version: 1, ids: ['one'] }
  is_away = false
  asked = []
  behind = []
  vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 })
  vi.resetModules()
  ;({ catalogOf } = await import('../../../gateway/catalog/in-force.ts'))
  return () => vi.useRealTimers()
})

const teller = {
  ask: async (_: string, [item]: { known?: number | null }[]) => {
    asked.push(item!.known!)
    if (is_away) return 'unavailable' as const
    if (!published) return [{ decision: 'unpublished' }]
    if (published.version === item!.known) return [{ decision: 'unchanged' }]
    const models = published.ids.map((id) => ({
      id,
      template: 'plain',
      context_tokens: 8,
      created: '2026',
      owned_by: 'me',
    }))
    return [{ decision: 'published', version: published.version, models }]
  },
  query: () => Promise.reject(new Error('nothing is read')),
}

function call(): Asking {
  return {
    env: { ...settings(), TELLER: { idFromName: (name) => name, get: () => teller } },
    get: () => 'request',
    executionCtx: { waitUntil: (work) => void behind.push(work) },
  }
}

const ids = async () => [...(await catalogOf(call())).keys()]
const after = (ms: number) => vi.setSystemTime(Date.now() + ms)

test('it is read once, and looked after once a second, behind a request that has the one before', async () => {
  expect(await ids()).toEqual(['one'])
  published = { version: 2, ids: ['one', 'two'] }
  after(999)
  expect(await ids()).toEqual(['one'])
  expect(asked).toEqual([null])
  after(1)
  expect(await Promise.all([ids(), ids(), ids()])).toEqual([['one'], ['one'], ['one']])
  await Promise.all(behind)
  expect(asked).toEqual([null, 1])
  expect(await ids()).toEqual(['one', 'two'])
})

test('a request waits for the look where nobody looked for ten seconds, and one only', async () => {
  await ids()
  published = { version: 2, ids: ['two'] }
  after(10_000)
  expect(await Promise.all([ids(), ids()])).toEqual([['two'], ['one']])
  expect(asked).toEqual([null, 1])
})

test('while the database is away it stays in force, however old it is', async () => {
  await ids()
  is_away = true
  for (let second = 0; second < 30; second += 1) {
    after(1000)
    expect(await ids()).toEqual(['one'])
  }
  await Promise.all(behind)
  is_away = false
  published = { version: 2, ids: ['two'] }
  after(1000)
  expect(await ids()).toEqual(['two'])
})

test('what a request has it keeps, whatever comes meanwhile', async () => {
  const kept = await catalogOf(call())
  published = { version: 2, ids: ['two'] }
  after(10_000)
  expect(await ids()).toEqual(['two'])
  expect([...kept.keys()]).toEqual(['one'])
})

test('a database that came back older has its own catalog', async () => {
  published = { version: 7, ids: ['seven'] }
  await ids()
  published = { version: 6, ids: ['six'] }
  after(10_000)
  expect(await ids()).toEqual(['six'])
})

test('without a copy and a database there is none, and without a catalog it is empty', async () => {
  is_away = true
  await expect(ids()).rejects.toMatchObject({ code: 'database_unavailable' })
  is_away = false
  published = null
  expect(await ids()).toEqual([])
})
