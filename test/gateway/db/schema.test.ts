// The tables and views of gateway/db/schema are those of a migrated database, column for column.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { is } from 'drizzle-orm'
import { bigint, PgTable, PgView, pgTable, text } from 'drizzle-orm/pg-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { catalogueFindings, type Drawn, drawnIn } from '../../support/catalogue.ts'
import { startTestPostgres, type TestPostgres } from '../../support/postgres.ts'

const folder = join(import.meta.dirname, '../../../gateway/db/schema')

let db: TestPostgres
let drawn: Drawn[]

beforeAll(async () => {
  db = await startTestPostgres()
  const modules = await Promise.all(readdirSync(folder).map((file) => import(join(folder, file)) as Promise<object>))
  drawn = modules.flatMap(drawnIn)
})
afterAll(() => db?.stop())

test('every table of the database is there, with its columns, types, nullability, defaults and keys, and none besides', async () => {
  const tables = drawn.filter((one) => is(one, PgTable))
  expect(tables.length).toBeGreaterThan(20)
  expect(await catalogueFindings(db.sql, 'public', tables)).toEqual([])
})

test('every view that a reader may select is there, with its columns and their types, and none besides', async () => {
  const views = drawn.filter((one) => is(one, PgView))
  expect(views.length).toBeGreaterThan(5)
  expect(await catalogueFindings(db.sql, 'read', views)).toEqual([])
})

test('what is missing, renamed, retyped, nullable or has another default is named', async () => {
  await db.sql.unsafe(`create schema small; create table small.things (
    id bigint generated always as identity primary key, name text not null, at timestamptz not null default now(), count int default 1);
    create table small.forgotten (id int)`)
  const things = pgTable('things', {
    id: bigint({ mode: 'bigint' }).generatedAlwaysAsIdentity(),
    title: text().notNull(),
    at: text(),
    count: bigint({ mode: 'bigint' }).default(2n),
  })
  expect(await catalogueFindings(db.sql, 'small', [things])).toEqual([
    'only in the database: forgotten.id integer',
    'only in the database: things PRIMARY KEY (id)',
    'only in the database: things.at timestamp with time zone not null default now()',
    'only in the database: things.count integer default 1',
    'only in the database: things.name text not null',
    'only in gateway/db/schema: things.at text',
    'only in gateway/db/schema: things.count bigint default 2',
    'only in gateway/db/schema: things.title text not null',
  ])
})
