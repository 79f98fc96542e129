// `npm run test:abuse`: every abuse at its whole size, drawn anew each time, with what the neighbour took in a table.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestGateway } from '../support/gateway.ts'
import { seededRandom } from '../support/random.ts'
import { abused, boundOf, names, type Outcome, startAbusedGateway } from './abuse.ts'

const random = seededRandom()
const outcomes = new Map<string, Outcome>()
let gateway: TestGateway

beforeAll(async () => {
  gateway = await startAbusedGateway()
})
afterAll(async () => {
  await gateway?.stop()
  for (const [name, { before, during, after, statuses }] of outcomes)
    console.log(`${name.padEnd(52)} ${row(before)} | ${row(during)} | ${row(after)} | ${JSON.stringify(statuses)}`)
})

const row = ({ p50, p99 }: Outcome['before']) => `${p50.toFixed(0).padStart(4)} ${p99.toFixed(0).padStart(5)}`

test.each(names)('while %s, a neighbour is answered', { timeout: 180_000 }, async (name) => {
  const outcome = await abused(gateway, name, random, { scale: 1, requests: 100 })
  outcomes.set(name, outcome)
  expect(outcome.during.p99).toBeLessThan(boundOf(outcome))
  expect(outcome.after.p99).toBeLessThan(boundOf(outcome))
  const server_errors = Object.keys(outcome.statuses).filter((status) => status.startsWith('5') && status !== '503')
  expect(server_errors).toEqual([])
})
