// Whatever is sent: no answer of 500 and more, none that never comes, every refusal in its shape and as the document has it.
//   DRAWN_REQUESTS=100000 npm test -- test/gateway/drawn-requests.test.ts

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DOCUMENT } from '../../local/openapi.ts'
import { type ApiDocument, type DrawnRequest, RequestDrawer } from '../support/drawn-requests.ts'
import { draws } from '../support/draws.ts'
import { model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { expectDocumented } from '../support/openapi.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { seededRandom } from '../support/random.ts'

const REQUESTS = draws('DRAWN_REQUESTS', { few: 600, all: 20_000 })
const AT_ONCE = 16
const REQUESTS_A_CALLER = 150 // some of them end its keys
const STATES = new Set(['/readyz', '/healthz', '/healthz/ledger']) // what they say is a state, and 503 one of them
const MESSAGES = new Set(['/v1/messages', '/v1/messages/count_tokens'])
const MESSAGES_ERROR = 'details,message,type'
const ERROR = 'code,message,param,type'

let gateway: TestGateway
const agent = new Agent({ keepAlive: true })

beforeAll(async () => {
  gateway = await startTestGateway()
})
afterAll(async () => {
  agent.destroy()
  await gateway?.stop()
})

test(`${REQUESTS} drawn requests are answered, each in its shape`, async () => {
  const random = seededRandom()
  const document = JSON.parse(readFileSync(DOCUMENT, 'utf8')) as ApiDocument
  const statuses: Record<string, number> = {}
  let left = REQUESTS
  while (left > 0) {
    const drawer = new RequestDrawer(document, random, await newKnown())
    const drawn = Math.min(left, REQUESTS_A_CALLER)
    left -= drawn
    const [api_key] = drawer.known.api_key as string[]
    const keyOf = (path: string) => (path.startsWith('/admin') ? gateway.admin_key : api_key!)
    let started = 0
    const work = async () => {
      while (started < drawn) {
        started += 1
        const asked = drawer.draw()
        if (random.chance(0.98)) asked.headers.authorization = `Bearer ${keyOf(asked.path)}`
        const status = await answered(asked)
        statuses[status] = (statuses[status] ?? 0) + 1
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
  }
  console.log(JSON.stringify(statuses))
  expect(statuses['200']).toBeGreaterThan(REQUESTS / 20) // so that what is behind the doors was reached, too
  expect(statuses['400']).toBeGreaterThan(REQUESTS / 20)
})

/** What exists: an account, its keys, one of its requests. */
async function newKnown() {
  const caller = await gateway.newCaller()
  const answer = await caller.post('/v1/completions', { model, prompt: 'x', max_tokens: 2 })
  const request_id = answer.headers.get('x-request-id')!
  await answer.body?.cancel()
  return {
    api_key: [caller.api_key],
    model: [model],
    account_id: [caller.account_id],
    id: [caller.account_id, caller.key_id, 'self', model],
    request_id: [request_id],
    stream: [false, true],
  }
}

async function answered(asked: DrawnRequest): Promise<number> {
  const said = `${asked.method} ${asked.path.slice(0, 300)} ${JSON.stringify(asked.headers)} ${asked.body?.subarray(0, 2000)}`
  const { status, headers, body } = await send(asked).catch((error) => {
    throw new Error(`${error}: ${said}`)
  })
  const path = asked.path.split('?')[0]!
  if (status >= 500 && !(status === 503 && STATES.has(path)))
    throw new Error(`${status} ${body.slice(0, 500)}: ${said}`)
  if (asked.method === 'HEAD' || asked.method === 'OPTIONS') return status
  if (status >= 400) expect(shapesAt(path), `${status} ${body.slice(0, 300)}: ${said}`).toContain(shapeOf(body))
  const answer = new Response(status === 204 ? null : body, { status, headers })
  await expectDocumented(gateway.url + path, { method: asked.method }, answer)
  return status
}

// Beside the Messages API, at a path that is nearly one of its own, either form is right.
function shapesAt(path: string): string[] {
  if (MESSAGES.has(path)) return [MESSAGES_ERROR]
  return path.startsWith('/v1/messages') ? [MESSAGES_ERROR, ERROR] : [ERROR]
}

function shapeOf(body: string): string {
  try {
    return Object.keys((JSON.parse(body) as { error: object }).error)
      .sort()
      .join()
  } catch {
    return 'no JSON'
  }
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

function send({ method, path, headers, body }: DrawnRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body ? { 'content-length': String(body.length) } : {}
    const sent = request(gateway.url + path, {
      method,
      agent,
      headers: { ...headers, ...length },
      timeout: PATIENCE_MS,
    })
    sent.on('timeout', () => sent.destroy(new Error('no answer came')))
    sent.on('error', reject)
    sent.on('response', (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: { 'content-type': response.headers['content-type'] ?? '' },
          body: Buffer.concat(parts).toString(),
        }),
      )
    })
    sent.end(body ?? undefined)
  })
}
