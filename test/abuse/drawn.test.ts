// One abuse of the list, drawn by the printed seed and small. All of them, whole: npm run test:abuse.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestGateway } from '../support/gateway.ts'
import { seededRandom } from '../support/random.ts'
import { abused, boundOf, names, startAbusedGateway } from './abuse.ts'

const random = seededRandom()
const name = random.pick(names)
let gateway: TestGateway

beforeAll(async () => {
  gateway = await startAbusedGateway()
})
afterAll(() => gateway?.stop())

test(`while ${name}, a neighbour is answered`, { timeout: 240_000 }, async () => {
  const outcome = await abused(gateway, name, random, { scale: 0.25, requests: 40 })
  expect(outcome.during.p99).toBeLessThan(boundOf(outcome))
  expect(outcome.after.p99).toBeLessThan(boundOf(outcome))
  expect(Object.values(outcome.statuses).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0)
})
