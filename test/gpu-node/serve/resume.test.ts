// A stream that lost its client, on the node: it is paused, waits for so long, and goes on for whoever is let on by the gateway, byte for
// byte. Nothing is generated meanwhile, and nobody who is read waits for it.

import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { GenerateRequest } from '../../../contract/internal/generation.ts'
import { QUESTION_HEADER, type Resumption, signQuestion } from '../../../contract/internal/question.ts'
import { signTicket, type Ticket } from '../../../contract/internal/ticket.ts'
import { type Cut, drawnCut, eventsIn, lastIdIn, type Read, readUntilCut } from '../../support/cut-off.ts'
import { draws } from '../../support/draws.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { type FakeNode, type FakeNodeOptions, startFakeNode } from '../../support/fake-node.ts'
import { generateRequest, NODE_ID, ticketFor } from '../../support/generate.ts'
import { HELD_MS, holdTimers } from '../../support/held-timers.ts'
import { newSigner, ticketSigner } from '../../support/keys.ts'
import { eventually } from '../../support/patience.ts'
import { seededRandom } from '../../support/random.ts'

const BILLED_AHEAD_MAX = 8
const CUT_STREAMS = draws('CUT_STREAMS', { few: 12, all: 1000 })

const streamRequest = (changes: Partial<GenerateRequest> = {}) =>
  generateRequest({ request_id: randomUUID(), stream: true, include_usage: true, max_tokens: 60, ...changes })

async function open(node: FakeNode, request: GenerateRequest, ticket: Partial<Ticket> = {}, cut?: Cut): Promise<Read> {
  const signed = await signTicket(ticketFor(request, { resume_ms_max: HELD_MS, ...ticket }), ticketSigner)
  const headers = { 'x-ticket': signed, 'content-type': 'application/json' }
  return readUntilCut(`${node.url}/generate`, { headers, body: JSON.stringify(request) }, cut)
}

async function resume(
  node: FakeNode,
  { request_id }: GenerateRequest,
  changes: Partial<Resumption & { signer: typeof ticketSigner; cut: Cut }> = {},
): Promise<Read> {
  const { signer = ticketSigner, cut, ...own } = changes
  const body = JSON.stringify({ request_id, attempt: 1, takes_over: true, ...own } satisfies Resumption)
  const asked = { node_id: NODE_ID, expires_unix_ms: Date.now() + 60_000, body }
  const headers = { [QUESTION_HEADER]: await signQuestion(signer, asked) }
  return readUntilCut(`${node.url}/resume`, { headers, body }, cut)
}

async function start(options: FakeNodeOptions = {}) {
  const gateway = await FakeGateway.start()
  return { gateway, node: await startFakeNode({ ...options, config: { gateway_url: gateway.url, ...options.config } }) }
}

/** Resolves when no step is made any more, with how many were. */
async function whenStill({ engine }: FakeNode): Promise<number> {
  let before = -1
  const { value } = await eventually(async () => {
    const is_still = before === engine.steps
    before = engine.steps
    return is_still ? before : null
  })
  return value
}

const AFTER_SOME: Cut = { bytes: 2000, leave: 'destroy' }
const LONG = { max_tokens: 3000, ignore_eos: true }

test(`${CUT_STREAMS} streams that are cut at drawn bytes, again and again, end with the bytes of one that is not`, async () => {
  const random = seededRandom()
  const { gateway, node } = await start({ engine: { step_ms: 1, blocks: 4096 } })
  const streams = Array.from({ length: CUT_STREAMS }, async (_, i) => {
    const shape = (['completion', 'chat', 'message'] as const)[i % 3]!
    const n = shape === 'message' ? 1 : 1 + random.below(2)
    const request = streamRequest({ shape, prompts: [[{ text: `stream ${i}` }]], n })
    const beside = await open(node, { ...request, request_id: randomUUID() })
    const cuts = Array.from({ length: 1 + random.below(3) }, () => drawnCut(random, beside.text.length))
    const parts = [await open(node, request, {}, cuts[0])]
    for (const cut of cuts.slice(1)) parts.push(await resume(node, request, { cut }))
    const whole = eventsIn((await resume(node, request)).text)
    for (const { text } of parts) expect(eventsIn(text)).toEqual(whole.slice(0, eventsIn(text).length))
    if (n === 1) expect(whole).toEqual(eventsIn(beside.text)) // of several choices each has its own pace
    expect(whole.map((event) => lastIdIn(event))).toEqual(whole.map((_event, number) => String(number)))
    const record = await gateway.record(request.request_id)
    expect(record.outcome).not.toBe('client_gone')
    expect(record.delivered_tokens).toBe(record.completion_tokens)
  })
  await Promise.all(streams)
  const ids = gateway.records.map(({ request_id }) => request_id)
  expect(new Set(ids).size).toBe(2 * CUT_STREAMS)
})

test('one that nobody reads generates nothing, and costs what came of it and a step or two', async () => {
  const endWaits = holdTimers()
  const { gateway, node } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  const read = await open(node, request, {}, AFTER_SOME)
  await whenStill(node)
  expect(await node.status()).toMatchObject({ running: 1 })
  expect(gateway.records).toEqual([])
  endWaits()
  const { outcome, completion_tokens, delivered_tokens } = await gateway.record(request.request_id)
  expect(outcome).toBe('client_gone')
  expect(completion_tokens).toBeLessThan(3000)
  expect(delivered_tokens).toBeGreaterThanOrEqual(eventsIn(read.text).length - 2) // its opening, and what was cut
  expect(await resume(node, request)).toMatchObject({ status: 404 })
  expect(await node.status()).toMatchObject({ running: 0, waiting: 0 })
})

test('what is delivered counts once, to whichever client got furthest', async () => {
  const endWaits = holdTimers()
  const { gateway, node } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  await open(node, request, {}, { bytes: 9000, leave: 'destroy' })
  await whenStill(node)
  await resume(node, request, { cut: { bytes: 10, leave: 'resetAndDestroy' } })
  await whenStill(node)
  endWaits()
  const { completion_tokens, delivered_tokens } = await gateway.record(request.request_id)
  expect(delivered_tokens).toBeGreaterThan(20)
  expect(delivered_tokens).toBeLessThanOrEqual(completion_tokens)
})

test('one without leave to be resumed ends with its client, and has no numbers', async () => {
  const { gateway, node } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  const read = await open(node, request, { resume_ms_max: 0 }, AFTER_SOME)
  expect(read.text).not.toMatch(/^id:/m)
  expect(await gateway.record(request.request_id)).toMatchObject({ outcome: 'client_gone' })
  expect(await resume(node, request)).toMatchObject({ status: 404 })
})

test('one that is read is left to its client, or taken over, as it is asked', async () => {
  const { gateway, node } = await start()
  const letGo = node.engine.hold()
  const request = streamRequest()
  const first = open(node, request)
  await eventually(async () => ((await node.status()).running === 1 ? true : null))
  const refused = await resume(node, request, { takes_over: false })
  expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([404, 'no_stream'])
  const second = resume(node, request)
  expect(await first).toMatchObject({ is_whole: false })
  letGo()
  expect(eventsIn((await second).text).at(-1)).toContain('[DONE]')
  expect(gateway.records).toHaveLength(1)
  expect(eventsIn((await resume(node, request, { takes_over: false })).text)).toEqual(eventsIn((await second).text))
})

test('is resumed by a gateway of ours alone, of this attempt alone', async () => {
  const { node } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  await open(node, request, {}, AFTER_SOME)
  expect(await resume(node, request, { signer: await newSigner() })).toMatchObject({ status: 401 })
  expect(await resume(node, request, { attempt: 2 })).toMatchObject({ status: 404 })
  expect(await resume(node, request, { request_id: randomUUID() })).toMatchObject({ status: 404 })
  const bare = await readUntilCut(`${node.url}/resume`, { headers: {}, body: '{}' })
  expect(bare.status).toBe(401)
})

test('those that nobody reads give way to who wants their memory, and go on when there is some again', async () => {
  const { node, gateway } = await start({ engine: { step_ms: 1, blocks: 16 }, context_tokens: 256 })
  const held = streamRequest({ max_tokens: 200, ignore_eos: true })
  const whole = eventsIn((await open(node, { ...held, request_id: randomUUID() })).text)
  await open(node, held, {}, { bytes: 10_000, leave: 'destroy' })
  await whenStill(node)
  const others = await Promise.all(
    Array.from({ length: 3 }, (_, i) =>
      open(node, streamRequest({ max_tokens: 200, ignore_eos: true, prompts: [[{ text: `${i}` }]] })),
    ),
  )
  for (const { text } of others) expect(eventsIn(text).at(-1)).toContain('[DONE]')
  expect(eventsIn((await resume(node, held)).text)).toEqual(whole)
  expect(gateway.records).toHaveLength(5)
})

test('where the queue is full, the first that nobody reads ends for who comes', async () => {
  const { node, gateway } = await start({
    engine: { step_ms: 1 },
    config: { sequences_max: 1, batch_tokens_max: 64, waiting_max: 1 },
  })
  const [running, held] = [streamRequest(LONG), streamRequest(LONG)]
  await open(node, held, {}, AFTER_SOME)
  await whenStill(node)
  const reading = open(node, running, {}, { bytes: 40_000, leave: 'destroy' })
  await eventually(async () => ((await node.status()).waiting === 1 ? true : null)) // it has given its place
  const other = open(node, streamRequest({ max_tokens: 3 }))
  expect(await gateway.record(held.request_id)).toMatchObject({ outcome: 'client_gone' })
  await reading
  expect((await other).status).toBe(200)
})

test('a node that is drained waits for nobody', async () => {
  const { node, gateway } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  await open(node, request, {}, AFTER_SOME)
  await whenStill(node)
  await node.drain()
  expect(await gateway.record(request.request_id)).toMatchObject({ outcome: 'client_gone' })
})

test('more than a stream may keep is not kept: it goes on for its client, and ends with it', async () => {
  const { node, gateway } = await start({ engine: { step_ms: 1, blocks: 4096 } })
  const large = { n: 30, max_tokens: 120, ignore_eos: true, response_id: 'x'.repeat(200) }
  const whole = streamRequest(large)
  const read = await open(node, whole)
  expect(read.text.length).toBeGreaterThan(1 << 20)
  expect(eventsIn(read.text).at(-1)).toContain('[DONE]')
  expect(await resume(node, whole)).toMatchObject({ status: 404 })
  const cut = streamRequest(large)
  await open(node, cut, {}, { bytes: 1_200_000, leave: 'destroy' })
  expect(await gateway.record(cut.request_id)).toMatchObject({ outcome: 'client_gone' })
})

test('what has ended is kept for as long, for a client that missed the end', async () => {
  const endWaits = holdTimers()
  const { node } = await start()
  const request = streamRequest()
  const { text } = await open(node, request)
  expect(eventsIn((await resume(node, request)).text)).toEqual(eventsIn(text))
  endWaits()
  expect(await resume(node, request)).toMatchObject({ status: 404 })
})

test('a stream that is taken back while nobody reads it says so to who resumes it', async () => {
  const { node, gateway } = await start({ engine: { step_ms: 1 } })
  const request = streamRequest(LONG)
  const { text } = await open(node, request, {}, AFTER_SOME)
  await whenStill(node)
  gateway.stop = [request.request_id]
  const { completion_tokens, delivered_tokens, outcome } = await gateway.record(request.request_id)
  expect(outcome).toBe('revoked')
  expect(completion_tokens - delivered_tokens).toBeLessThanOrEqual(BILLED_AHEAD_MAX + eventsIn(text).length)
  expect(eventsIn((await resume(node, request)).text).at(-1)).toContain('request_revoked')
})
