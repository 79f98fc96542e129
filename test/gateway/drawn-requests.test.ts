// Whatever is sent: no answer of 500 and more, none that never comes, every refusal in its shape and as the document has it. Of many the
// gateway's memory is told as they go, and does not grow with their number.
//   DRAWN_REQUESTS=100000 npm test -- test/gateway/drawn-requests.test.ts

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DOCUMENT } from '../../local/openapi.ts'
import { sendDrawn } from '../support/drawn-answers.ts'
import { type ApiDocument, RequestDrawer } from '../support/drawn-requests.ts'
import { draws } from '../support/draws.ts'
import { model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { HANG_MS_MIN } from '../support/patience.ts'
import { seededRandom } from '../support/random.ts'

const REQUESTS = draws('DRAWN_REQUESTS', { few: 600, all: 20_000 })
const REQUESTS_A_CALLER = 150 // some of them end its keys

let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway()
})
afterAll(() => gateway?.stop())

test(`${REQUESTS} drawn requests are answered, each in its shape`, {
  timeout: HANG_MS_MIN + 100 * REQUESTS,
}, async () => {
  const random = seededRandom()
  const document = JSON.parse(readFileSync(DOCUMENT, 'utf8')) as ApiDocument
  const statuses: Record<string, number> = {}
  const megabytes: number[] = [] // of the gateway, a tenth of the requests after the other
  for (let left = REQUESTS; left > 0; left -= REQUESTS_A_CALLER) {
    const { api_key, ...known } = await newKnown()
    const drawer = new RequestDrawer(document, random, known)
    const keyOf = (path: string) =>
      random.chance(0.02) ? null : path.startsWith('/admin') ? gateway.admin_key : api_key
    const some = await sendDrawn(gateway.url, drawer, Math.min(left, REQUESTS_A_CALLER), 16, keyOf)
    for (const [status, count] of Object.entries(some)) statuses[status] = (statuses[status] ?? 0) + count
    if (REQUESTS - left >= (megabytes.length * REQUESTS) / 10) megabytes.push(residentMegabytes(gateway.pid))
  }
  console.log(JSON.stringify(statuses), `MB: ${megabytes.join(' ')}`)
  expect(statuses['200']).toBeGreaterThan(REQUESTS / 20) // so that what is behind the doors was reached, too
  expect(statuses['400']).toBeGreaterThan(REQUESTS / 20)
})

function residentMegabytes(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024)
}

/** What exists: an account, its keys, one of its requests. */
async function newKnown() {
  const caller = await gateway.newCaller()
  const answer = await caller.post('/v1/completions', { model, prompt: 'x', max_tokens: 2 })
  const request_id = answer.headers.get('x-request-id')!
  await answer.body?.cancel()
  return {
    api_key: caller.api_key,
    model: [model],
    account_id: [caller.account_id],
    id: [caller.account_id, caller.key_id, 'self', model],
    request_id: [request_id],
    stream: [false, true],
  }
}
