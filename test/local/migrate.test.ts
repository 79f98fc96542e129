import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrate, readMigrations } from '../../local/migrate.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const migration = (name: string, sql: string) => ({ name, sql, checksum: sql })

test('a second run applies nothing', async () => {
  expect(await migrate(db.url)).toEqual([])
  const rows = await db.sql`select name from schema_migrations order by name`
  expect(rows.map(({ name }) => name)).toEqual([...readMigrations().map(({ name }) => name), 'functions'])
})

test('a migration that changed after it was applied is refused by name', async () => {
  const [first, ...rest] = readMigrations()
  const changed = [{ ...first!, checksum: 'another' }, ...rest]
  await expect(migrate(db.url, changed)).rejects.toThrow(`${first!.name} was changed`)
})

test('one that fails leaves nothing of itself or of those before it', async () => {
  const set = [
    migration('8_good.sql', 'create table good (a int)'),
    migration('9_bad.sql', 'create table bad (a int); oops'),
  ]
  await expect(migrate(db.url, set)).rejects.toThrow('syntax error')
  const [row] = await db.sql`select to_regclass('good') as good, to_regclass('bad') as bad`
  expect(row).toEqual({ good: null, bad: null })
})

test('of two runs at once one applies and the other finds it done', async () => {
  const set = [migration('a.sql', 'create table once (a int)')]
  const runs = await Promise.all([migrate(db.url, set), migrate(db.url, set)])
  expect(runs.flat()).toEqual(['a.sql'])
})

test('functions that changed are replaced, and only then', async () => {
  const answers = (n: number) => ({
    name: 'functions',
    sql: `create or replace function answer() returns int language sql as 'select ${n}'`,
    checksum: String(n),
  })
  expect(await migrate(db.url, [], answers(1))).toEqual(['functions'])
  expect(await migrate(db.url, [], answers(1))).toEqual([])
  expect(await migrate(db.url, [], answers(2))).toEqual(['functions'])
  expect(await db.sql`select answer()`).toEqual([{ answer: 2 }])
})
