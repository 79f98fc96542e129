// Stored responses in the ledger's database: how much of them is kept, what goes first, and that what is counted is what is there.

import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

let db: TestPostgres
const random = seededRandom()

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const sealed = (bytes: number) => randomBytes(bytes).toString('base64')
const one = async (...asked: Parameters<TestPostgres['ask']>) => (await db.ask(...asked))[0]!

async function keep({ account_id }: Payer, bytes: number, account_bytes_max = 100, request_id: string = randomUUID()) {
  const item = { account_id, request_id, input: sealed(Math.floor(bytes / 2)), response: sealed(Math.ceil(bytes / 2)) }
  return { request_id, decision: (await one('keep_response', { ...item, account_bytes_max })).decision }
}

const idsOf = async ({ account_id }: Payer) => {
  const rows =
    await db.sql`select request_id from stored_responses where account_id = ${account_id} order by created_at`
  return rows.map(({ request_id }) => request_id as string)
}

const bytesOf = async ({ account_id }: Payer) => {
  const [row] = await db.sql`
    select coalesce((select bytes from stored_response_bytes where account_id = ${account_id}), 0)::int as counted,
      coalesce((select sum(octet_length(input) + octet_length(response)) from stored_responses
        where account_id = ${account_id}), 0)::int as there`
  return row as unknown as { counted: number; there: number }
}

const read = ({ key_hash }: Payer, ...request_ids: string[]) =>
  one('read_responses', { key_hash, request_ids, with_input: true })

describe('a response', () => {
  test('is kept once, and read by keys of its account that may generate', async () => {
    const payer = await newPayer(db, 0n)
    const kept = await keep(payer, 10)
    expect(await keep(payer, 20, 100, kept.request_id)).toEqual(kept)
    const { account_id, responses } = await read(payer, kept.request_id, randomUUID())
    expect(account_id).toBe(payer.account_id)
    expect(responses.map(({ request_id }) => request_id)).toEqual([kept.request_id])
    expect(await bytesOf(payer)).toEqual({ counted: 10, there: 10 })
    const stranger = await newPayer(db, 0n)
    expect((await read(stranger, kept.request_id)).responses).toEqual([])
    const deleting = { key_hash: stranger.key_hash, request_id: kept.request_id }
    expect(await one('delete_response', deleting)).toEqual({ decision: 'not_found' })
    const reader = await newPayer(db, 0n, { scopes: ['usage'] })
    expect(await read(reader, kept.request_id)).toEqual({ decision: 'missing_scope' })
    expect(await one('delete_response', { ...deleting, key_hash: reader.key_hash })).toEqual({
      decision: 'missing_scope',
    })
    expect(await one('delete_response', { ...deleting, key_hash: payer.key_hash })).toEqual({ decision: 'deleted' })
    expect(await bytesOf(payer)).toEqual({ counted: 0, there: 0 })
  })

  test('that needs room takes that of the oldest, and no more; one too large takes none', async () => {
    const payer = await newPayer(db, 0n)
    const [first, second, third] = [await keep(payer, 40), await keep(payer, 40), await keep(payer, 20)]
    const fourth = await keep(payer, 40)
    expect(await idsOf(payer)).toEqual([second, third, fourth].map(({ request_id }) => request_id))
    expect((await read(payer, first.request_id)).responses).toEqual([])
    expect((await keep(payer, 101)).decision).toBe('no_room')
    expect(await idsOf(payer)).toHaveLength(3)
    const fifth = await keep(payer, 100)
    expect(await idsOf(payer)).toEqual([fifth.request_id])
    expect(await bytesOf(payer)).toEqual({ counted: 100, there: 100 })
  })

  test('is nothing after its thirty days, and then forgotten', async () => {
    const payer = await newPayer(db, 0n)
    const [old, young] = [await keep(payer, 30), await keep(payer, 30)]
    await db.sql`update stored_responses set expires_at = clock_timestamp() where request_id = ${old.request_id}`
    expect((await read(payer, old.request_id, young.request_id)).responses).toHaveLength(1)
    expect(await one('delete_response', { key_hash: payer.key_hash, request_id: old.request_id })).toEqual({
      decision: 'not_found',
    })
    expect(await one('forget_responses', { count_max: 10 })).toEqual({ decision: 'forgotten', count: 1 })
    expect(await one('forget_responses', { count_max: 10 })).toEqual({ decision: 'forgotten', count: 0 })
    expect(await idsOf(payer)).toEqual([young.request_id])
    expect(await bytesOf(payer)).toEqual({ counted: 30, there: 30 })
  })
})

test('what is counted is what is there, within its bound, whatever is done at a time', async () => {
  const payers = await Promise.all([newPayer(db, 0n), newPayer(db, 0n), newPayer(db, 0n)])
  const known: string[] = [randomUUID()]
  const actions = [
    async (payer: Payer) => void known.push((await keep(payer, 1 + random.below(60))).request_id),
    async ({ key_hash }: Payer) => void (await one('delete_response', { key_hash, request_id: random.pick(known) })),
    async () => {
      await db.sql`update stored_responses set expires_at = clock_timestamp() where request_id = ${random.pick(known)}`
      await one('forget_responses', { count_max: 3 })
    },
  ]
  for (let round = 0; round < draws('STORED_ROUNDS', { few: 12, all: 200 }); round += 1) {
    const chosen = Array.from({ length: 6 }, () => (random.chance(0.6) ? actions[0]! : random.pick(actions)))
    await Promise.all(chosen.map((act) => act(random.pick(payers))))
    for (const payer of payers) {
      const { counted, there } = await bytesOf(payer)
      expect(counted).toBe(there)
      expect(there).toBeLessThanOrEqual(100)
    }
  }
})
