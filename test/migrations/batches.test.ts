// Files and batches in the ledger's database: what is counted once, whose it is, and what a worker may note that has lost its lease.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer
let stranger: Payer

beforeAll(async () => {
  db = await startTestPostgres()
  payer = await newPayer(db, 1_000_000_000n)
  stranger = await newPayer(db, 0n)
})
afterAll(() => db?.stop())

const one = async (...asked: Parameters<TestPostgres['ask']>) =>
  (await db.ask(...asked))[0] as unknown as Record<string, unknown> & { decision: string }

const ROOM = { bytes_max: 100, account_bytes_max: 1_000_000 }

async function begun(by = payer, room = ROOM) {
  const part_id = randomUUID()
  const item = { key_hash: by.key_hash, created_by: randomUUID(), part_id, ...room }
  const answer = await one('begin_file', item)
  return { answer, item, part_id, file: { account_id: by.account_id, file_id: String(answer.file_id) } }
}

/** A file of as many parts, of ten bytes each. */
async function fileOf(parts: number, by = payer) {
  const { file, part_id } = await begun(by)
  let id = part_id
  for (let part = 1; part < parts; part += 1) {
    const next_id = randomUUID()
    await one('write_part', { ...file, part: { id, bytes: 10 }, next_id })
    id = next_id
  }
  const last = { ...file, part: { id, bytes: 10 }, filename: 'a', purpose: 'batch', expires_after_s: 3600 } as const
  expect(await one('finish_file', last)).toMatchObject({ decision: 'finished', file: { bytes: parts * 10 } })
  return { ...file, last }
}

const duePartsOf = async (file_id: string) => {
  const { part_ids } = await one('due_parts', { count_max: 1000 })
  const rows = await db.sql`select id from file_parts where file_id = ${file_id}`
  return rows.filter(({ id }) => (part_ids as string[]).includes(id as string)).length
}

describe('a file', () => {
  test('has each part once, in order, however often it is noted', async () => {
    const { file, part_id, item } = await begun()
    expect(await one('begin_file', item)).toMatchObject({ decision: 'begun', file_id: file.file_id })
    const written = { ...file, part: { id: part_id, bytes: 10 }, next_id: randomUUID() }
    expect([await one('write_part', written), await one('write_part', written)]).toEqual([
      { decision: 'written' },
      { decision: 'written' },
    ])
    const rest = {
      ...file,
      part: { id: written.next_id, bytes: 5 },
      filename: 'a',
      purpose: 'batch',
      expires_after_s: 3600,
    } as const
    expect(await one('finish_file', rest)).toMatchObject({ file: { bytes: 15 } })
    expect(await one('finish_file', rest)).toMatchObject({ file: { bytes: 15 } })
    const asked = { key_hash: payer.key_hash, file_id: file.file_id, with_parts: true } as const
    expect((await one('read_file', asked)).parts).toEqual([
      { id: part_id, begins_at: 0, bytes: 10 },
      { id: written.next_id, begins_at: 10, bytes: 5 },
    ])
    expect(await one('write_part', written)).toEqual({ decision: 'file_closed' })
  })

  test('is seen and deleted by keys of its account that may generate', async () => {
    const { file_id } = await fileOf(1)
    const reader = await newPayer(db, 0n, { scopes: ['usage'] })
    for (const [{ key_hash }, decision] of [
      [stranger, 'not_found'],
      [reader, 'missing_scope'],
    ] as const)
      for (const name of ['read_file', 'delete_file'] as const)
        expect(await one(name, { key_hash, file_id })).toEqual({ decision })
    expect(await one('delete_file', { key_hash: payer.key_hash, file_id })).toEqual({ decision: 'deleted' })
    expect(await duePartsOf(file_id)).toBe(1)
  })

  test('has room where the account has; what is being written counts as what it may become', async () => {
    const poor = await newPayer(db, 0n)
    const room = { bytes_max: 60, account_bytes_max: 100 }
    expect((await begun(poor, room)).answer.decision).toBe('begun')
    expect((await begun(poor, room)).answer.decision).toBe('no_room_for_file')
    await db.sql`update files set state = 'ready', bytes = 40 where account_id = ${poor.account_id}`
    expect((await begun(poor, room)).answer.decision).toBe('begun')
  })

  test('is due when it is over, when it was never whole, and not while a batch reads it', async () => {
    const { file_id } = await fileOf(2)
    const other = await fileOf(3)
    expect(await duePartsOf(file_id)).toBe(0)
    await db.sql`update files set expires_at = clock_timestamp(), kept_until = clock_timestamp() + interval '1 hour' where id = ${file_id}`
    expect(await duePartsOf(file_id)).toBe(0)
    await db.sql`update files set kept_until = clock_timestamp() where id = ${file_id}`
    expect(await duePartsOf(file_id)).toBe(2)
    const { part_ids } = await one('due_parts', { count_max: 1000 })
    await one('forget_parts', { part_ids: part_ids as string[] })
    await one('due_parts', { count_max: 1000 })
    expect(await db.sql`select from files where id = ${file_id}`).toHaveLength(0)
    expect(await db.sql`select from file_parts where file_id = ${other.file_id}`).toHaveLength(3)
    const cut = await begun()
    expect(await duePartsOf(cut.file.file_id)).toBe(0)
    await one('abandon_file', cut.file)
    expect(await duePartsOf(cut.file.file_id)).toBe(1)
  })
})

async function batchOf(by = payer, file?: { file_id: string }) {
  const { file_id } = file ?? (await fileOf(1, by))
  const answer = await one('create_batch', {
    key_hash: by.key_hash,
    created_by: randomUUID(),
    input_file_id: file_id,
    endpoint: '/v1/completions',
    metadata: null,
    output_expires_after_s: 3600,
  })
  return { answer, batch_id: (answer.batch as { id: string } | undefined)?.id ?? '' }
}

async function claimed() {
  const ids = { lease: randomUUID(), output_part_id: randomUUID(), error_part_id: randomUUID() }
  const step = await one('claim_batch', ids)
  return { ...ids, step, leased: { batch_id: String(step.batch_id), lease: ids.lease } }
}

const lines = (...numbers: number[]) =>
  numbers.map((number) => ({
    number,
    begins_at: number * 5,
    bytes: 5,
    custom_id_hash: number.toString(16).padStart(32, '0'),
  }))

const noted = { read_bytes: 10, read_lines: 2, model: 'ziya-coding-mini', errors: [], is_end: false }
const stateOf = async (batch_id: string) => (await db.sql`select * from batches where id = ${batch_id}`)[0]!
const clear = () => db.sql`update batches set state = 'failed' where state in ('validating', 'in_progress')`

describe('a batch', () => {
  test('is made of a file of its account that is there, so many at a time', async () => {
    const theirs = await fileOf(1, stranger)
    expect((await batchOf(payer, theirs)).answer.decision).toBe('unknown_file')
    const { batch_id, answer } = await batchOf()
    expect(answer.decision).toBe('created')
    const asked = { key_hash: stranger.key_hash, batch_id }
    expect([await one('read_batch', asked), await one('cancel_batch', asked)]).toEqual(
      Array(2).fill({ decision: 'not_found' }),
    )
    await db.sql`
      insert into batches (account_id, key_id, created_by, endpoint, input_file_id, output_expires_after_s, expires_at)
      select account_id, key_id, gen_random_uuid(), endpoint, input_file_id, 1, expires_at from batches, generate_series(1, 99) where id = ${batch_id}`
    expect((await batchOf()).answer.decision).toBe('too_many_batches')
    await clear()
  })

  test('is one worker’s at a time, and whoever has lost it notes nothing', async () => {
    const { batch_id } = await batchOf()
    const first = await claimed()
    expect(first.step).toMatchObject({ decision: 'claimed', batch_id, step: 'validate', read_bytes: 0 })
    expect((await claimed()).step).toEqual({ decision: 'none' })
    await db.sql`update batches set leased_until = clock_timestamp() - interval '1 second' where id = ${batch_id}`
    const second = await claimed()
    expect(second.step.batch_id).toBe(batch_id)
    expect(await one('note_lines', { ...first.leased, ...noted, lines: lines(1, 2) })).toEqual({ decision: 'lost' })
    expect(await stateOf(batch_id)).toMatchObject({ read_lines: 0, lease: second.lease })
    expect(await one('note_lines', { ...second.leased, ...noted, lines: lines(1, 2) })).toEqual({ decision: 'noted' })
    expect(await one('note_lines', { ...second.leased, ...noted, lines: lines(3) })).toEqual({ decision: 'lost' })
    expect(await stateOf(batch_id)).toMatchObject({ read_lines: 2, state: 'validating' })
    await clear()
  })

  test.each([
    [
      'a custom_id of an earlier step',
      { lines: [{ ...lines(3)[0]!, custom_id_hash: lines(1)[0]!.custom_id_hash }], read_lines: 3 },
      'duplicate_custom_id',
    ],
    ['one line too many', { lines: [], read_lines: 50_001 }, 'too_many_requests'],
  ])('fails for %s', async (_, changes, code) => {
    const { batch_id } = await batchOf()
    await one('note_lines', { ...(await claimed()).leased, ...noted, lines: lines(1, 2) })
    await one('note_lines', { ...(await claimed()).leased, ...noted, ...changes, is_end: true })
    expect(await stateOf(batch_id)).toMatchObject({ state: 'failed', errors: [{ code }] })
    expect(
      await db.sql`select from outbox where type = 'batch.failed' and body like ${`%batch_${batch_id}"%`}`,
    ).toHaveLength(1)
    await one('forget_batches', { count_max: 1000 })
    expect(await db.sql`select from batch_lines where batch_id = ${batch_id}`).toHaveLength(0)
  })

  test('offers each line once, writes each that ended once, and counts it once', async () => {
    const { batch_id } = await batchOf()
    await one('note_lines', { ...(await claimed()).leased, ...noted, lines: lines(1, 2), is_end: true })
    const offer = await claimed()
    expect(offer.step).toMatchObject({ step: 'offer', is_flex: false, lines: [{ number: 1 }, { number: 2 }] })
    const error = { code: 'x', message: 'y' }
    const refused = [{ number: 2, refusal: { status_code: 400, error } }]
    await one('note_offers', { ...offer.leased, offered: [1], refused, wait_ms: 0 })
    expect((await claimed()).step).toEqual({ decision: 'none' }) // the first still runs
    await db.sql`
      insert into jobs (id, account_id, key_id, kind, owner, model, state, admission, expires_at, ended_at, usage, status_code, result)
      select job_id, ${payer.account_id}, 1, 'batch', ${batch_id}, 'm', 'completed', '{}', clock_timestamp(), clock_timestamp(),
        '{"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2}', 200, decode('01', 'hex')
      from batch_lines where batch_id = ${batch_id} and number = 1`
    await db.sql`select ledger.end_line(j) from jobs j where owner = ${batch_id}`
    const counts = (await one('read_batch', { key_hash: payer.key_hash, batch_id })).batch
    expect(counts).toMatchObject({ request_counts: { total: 2, completed: 1, failed: 1 }, output_file_id: null })
    const write = await claimed()
    expect(write.step).toMatchObject({ step: 'write', lines: [{ number: 1 }, { number: 2, refusal: { error } }] })
    const output = { id: write.output_part_id, bytes: 7 }
    const results = { ...write.leased, numbers: [1, 2], output, error: { id: write.error_part_id, bytes: 4 } }
    expect([await one('note_results', results), await one('note_results', results)]).toEqual([
      { decision: 'noted' },
      { decision: 'lost' },
    ])
    expect((await claimed()).step).toEqual({ decision: 'none' })
    const { batch } = (await one('read_batch', { key_hash: payer.key_hash, batch_id })) as {
      batch: { output_file_id: string }
    } & { decision: string }
    expect(batch).toMatchObject({
      state: 'completed',
      request_counts: { total: 2, completed: 1, failed: 1 },
      usage: { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 2 },
    })
    const file = { key_hash: payer.key_hash, file_id: batch.output_file_id, with_parts: true } as const
    expect((await one('read_file', file)).parts).toEqual([{ id: write.output_part_id, begins_at: 0, bytes: 7 }])
    expect(await db.sql`select from jobs where owner = ${batch_id}`).toHaveLength(0)
  })

  test('that is cancelled finishes what was begun of it, and a slow worker begins none of its lines', async () => {
    await one('publish_price', { model: 'm', input_nanousd_per_token: '1', output_nanousd_per_token: '1' })
    const { batch_id } = await batchOf()
    await one('note_lines', {
      ...(await claimed()).leased,
      ...{ ...noted, read_lines: 4, lines: lines(1, 2, 3, 4), is_end: true },
    })
    const { step } = await claimed()
    const ids = (step.lines as { job_id: string }[]).map(({ job_id }) => job_id) as [string, string, string, string]
    const begin = (job_id: string) =>
      one('create_job', {
        ...{ key_hash: payer.key_hash, job_id, kind: 'batch', owner: batch_id, model: 'm' },
        ...{ request: 'AA==', input: null, head: null, window_s: 60, account_bytes_max: 1000 },
        admission: { prompt_tokens_max: 1, request_output_tokens_max: 1, choices: 1 },
      })
    expect([await begin(ids[0]), await begin(ids[1])]).toEqual(Array(2).fill({ decision: 'created' }))
    await db.sql`update jobs set state = 'running', request_id = id, node_id = 'n', leased_until = 'infinity' where id = ${ids[0]}`
    await one('cancel_batch', { key_hash: payer.key_hash, batch_id })
    expect([await begin(ids[2]), await begin(ids[1])]).toEqual([{ decision: 'closed' }, { decision: 'created' }])
    expect((await claimed()).step).toEqual({ decision: 'none' }) // the first still runs
    expect(await begin(ids[3])).toEqual({ decision: 'closed' })
    expect(await db.sql`select id, state from jobs where owner = ${batch_id} order by state`).toEqual([
      { id: ids[1], state: 'cancelled' },
      { id: ids[0], state: 'running' },
    ])
    await db.sql`update jobs set state = 'completed', request = null, ended_at = clock_timestamp(), status_code = 200, result = '\\x01', usage = '{"completion_tokens": 2}' where id = ${ids[0]}`
    await db.sql`select ledger.end_line(j) from jobs j where id = ${ids[0]}`
    const write = await claimed()
    const refusal = { error: { code: 'batch_cancelled' } }
    expect(write.step).toMatchObject({ step: 'write', lines: [{ number: 1 }, { refusal }, { refusal }, { refusal }] })
    const [output, error] = [write.output_part_id, write.error_part_id].map((id) => ({ id, bytes: 5 }))
    await one('note_results', { ...write.leased, numbers: [1, 2, 3, 4], output: output!, error: error! })
    expect((await claimed()).step).toEqual({ decision: 'none' })
    expect(await stateOf(batch_id)).toMatchObject({ state: 'cancelled', completed_lines: 1, failed_lines: 3 })
    for (const job_id of ids) expect(await begin(job_id)).toEqual({ decision: 'closed' })
  })

  test('begins nothing more when its time is over', async () => {
    const { batch_id } = await batchOf()
    await one('note_lines', { ...(await claimed()).leased, ...noted, lines: lines(1, 2), is_end: true })
    await db.sql`update batches set expires_at = clock_timestamp() where id = ${batch_id}`
    const write = await claimed()
    expect(write.step).toMatchObject({ step: 'write', lines: [{ refusal: { error: { code: 'batch_expired' } } }, {}] })
    await one('note_results', {
      ...write.leased,
      numbers: [1, 2],
      output: { id: write.output_part_id, bytes: 0 },
      error: { id: write.error_part_id, bytes: 9 },
    })
    await claimed()
    const { batch } = (await one('read_batch', { key_hash: payer.key_hash, batch_id })) as { batch: object } & {
      decision: string
    }
    expect(batch).toMatchObject({ state: 'expired', output_file_id: null, request_counts: { failed: 2 } })
  })
})
