// Bodies on their way in: large ones of several keys at once, and those that are broken off.

import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Caller, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'

const AT_ONCE = 25

let gateway: TestGateway
let caller: Caller
let neighbour: Caller

beforeAll(async () => {
  gateway = await startTestGateway()
  caller = await gateway.newCaller()
  neighbour = await gateway.newCaller()
})
afterAll(() => gateway?.stop())

const ask = (who: Caller) => who.post('/v1/completions', { model, prompt: 'x', max_tokens: 3 })

/** Sends a part of a body, waits until the gateway has it, and leaves. */
async function breakOff(): Promise<void> {
  const { hostname, port } = new URL(gateway.url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${caller.api_key}\r\n`
  await new Promise((sent) =>
    socket.write(`${head}content-type: application/json\r\ncontent-length: 5000\r\n\r\n{`, sent),
  )
  await gateway.admin('/admin/me', undefined, 'GET') // what was sent before has been read by then
  socket.resetAndDestroy()
}

test('large bodies of several keys, right and wrong, all get their turn', async () => {
  const large = (tail: string) => `{"model":"${model}","max_tokens":3,"prompt":"${'x'.repeat(100_000)}"${tail}`
  const statuses = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      const who = i % 5 ? caller : neighbour
      const answer = await who.post('/v1/completions', large(i % 3 ? '}' : ''))
      await answer.arrayBuffer()
      return answer.status
    }),
  )
  expect(statuses).toEqual(statuses.map((_, i) => (i % 3 ? 200 : 400)))
})

test('a key that breaks off one upload after the other is refused, and its neighbour is not', async () => {
  const { value } = await eventually(async () => {
    await Promise.all(Array.from({ length: AT_ONCE }, breakOff))
    const answer = await ask(caller)
    return answer.status === 200 ? null : answer
  })
  expect(await errorOf(value)).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
  expect((await ask(neighbour)).status).toBe(200)
})
