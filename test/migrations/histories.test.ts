// Random histories while connections are killed. HISTORIES=n says how many, SEED=n repeats a run's plans. `npm run soak` runs thousands,
// and crashes Postgres itself.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { Histories } from '../support/histories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

const HISTORIES = draws('HISTORIES', { few: 50, all: 500 })

let db: TestPostgres
let histories: Histories

beforeAll(async () => {
  db = await startTestPostgres()
  histories = new Histories({ database_url: db.url, forgets: false })
  await histories.prepare()
})
afterAll(async () => {
  await histories?.stop()
  await db?.stop()
})

test(`${HISTORIES} concurrent histories with killed connections keep every invariant`, async () => {
  const { seed } = seededRandom()
  const errors = captureErrors()
  const killing = histories.killConnections()
  const findings = await histories.runAll({ seed, from: 0, to: HISTORIES, onDone: () => {} })
  killing.stop()
  expect(findings).toEqual([])
  expect(killing.kills()).toBeGreaterThan(HISTORIES / 2)
  expect(errors.filter((line) => /refused|deadlock/.test(line))).toEqual([])
  console.log(
    `${HISTORIES} histories, ${histories.calls} calls, ${killing.kills()} connections killed, ${errors.length} unknown outcomes`,
  )
})

/** One line a lost answer: expected here, where connections are killed on purpose. */
function captureErrors(): string[] {
  const lines: string[] = []
  const original = console.error
  console.error = (line: unknown) => void lines.push(String(line))
  afterAll(() => {
    console.error = original
  })
  return lines
}
