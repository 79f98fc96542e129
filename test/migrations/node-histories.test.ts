// A node and its ledger through engine failures, revocations, losses, damaged journals, full disks and restored databases.
// NODE_HISTORIES=2000 runs that many, SEED=n repeats a run's.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { type Happened, nodeHistory, nothing, RestorableLedger } from '../support/node-histories.ts'
import { seededRandom } from '../support/random.ts'

const HISTORIES = draws('NODE_HISTORIES', { few: 8, all: 200 })
const HISTORIES_A_LEDGER = 100 // a larger one takes longer to copy and to add up

let ledger: RestorableLedger

beforeAll(async () => {
  ledger = await RestorableLedger.start()
})
afterAll(() => ledger?.stop())

test(`${HISTORIES} histories of a node leave whole books, and charge what was delivered once`, {
  timeout: 7_200_000,
}, async () => {
  const { seed } = seededRandom()
  const happened: Happened = nothing()
  // Few of them may lack a kind of what can happen: then some more are drawn.
  const isComplete = () => Object.values(happened).every((count) => count > 0)
  for (let history = 0; history < HISTORIES || (!isComplete() && history < 5 * HISTORIES); history++) {
    if (history > 0 && history % HISTORIES_A_LEDGER === 0) {
      await ledger.stop()
      ledger = await RestorableLedger.start()
    }
    expect(await nodeHistory(ledger, seed + history, happened), `history ${history} of seed ${seed}`).toEqual([])
  }
  for (const [kind, count] of Object.entries(happened)) expect(count, kind).toBeGreaterThan(0)
  console.log(`${HISTORIES} histories of a node:`, JSON.stringify(happened))
})

// Damage took what the journal knew of its acknowledgements, and its id.
test.each([4_100_057, 4_100_816])('history %i, which was wrong once, is right', async (seed) => {
  expect(await nodeHistory(ledger, seed, nothing())).toEqual([])
})
