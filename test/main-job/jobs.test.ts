// Jobs on the whole service: what is queued is run by a node that has room, ends once, is paid once, and says the same to every reader,
// whoever is killed meanwhile.

import { setTimeout as sleep } from 'node:timers/promises'
import type OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { expectDocumentedEvent } from '../support/openapi.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { type Customer, eventually, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

type Response = OpenAI.Responses.Response
type Event = OpenAI.Responses.ResponseStreamEvent

const model = 'ziya-coding-mini'
const CANCELLED = draws('CANCELLED_JOBS', { few: 3, all: 200 })
let stack: TestStack
let customer: Customer
let responses: OpenAI.Responses

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
  responses = customer.client.responses
})
afterAll(() => stack?.stop())

const body = { model, input: 'def quicksort(', max_output_tokens: 48, seed: 7, temperature: 0.8, background: true }
const asked = (changes: object = {}) => ({ ...body, ...changes }) as OpenAI.Responses.ResponseCreateParamsNonStreaming

const OPEN = ['queued', 'in_progress']

async function ended(id: string): Promise<Response> {
  const { value } = await eventually(async () => {
    const response = await responses.retrieve(id)
    return OPEN.includes(response.status!) ? null : response
  })
  return value
}

const requestIdOf = (id: string) => id.replace(/resp_(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')

async function jobOf(id: string) {
  const [job] = await stack.sql`select * from jobs where id = ${requestIdOf(id)}`
  return job!
}

const bytesOf = async (id: string, query = '') =>
  (await customer.fetch(`/v1/responses/${id}?stream=true${query}`)).text()

/** What its stream is, with nothing said for its own sake. */
const framesOf = (text: string) => text.split(/(?<=\n\n)/).filter((frame) => frame.startsWith('event: '))

describe('a response in the background', () => {
  test('is queued, run, stored and billed once, and says what one that is waited for says', async () => {
    const queued = await responses.create(asked())
    expect(queued).toMatchObject({ status: 'queued', background: true, output: [] })
    const response = await ended(queued.id)
    expect(response).toMatchObject({ error: null, status: 'incomplete', store: true, created_at: queued.created_at })
    expect(response.usage!.output_tokens).toBe(48)
    const usage = await stack.sql`select * from usage where request_id = ${requestIdOf(queued.id)}`
    expect(usage).toMatchObject([{ completion_tokens: '48', outcome: 'length' }])
    const events = await stack.sql`select type, body from outbox where type like 'response.%'`
    expect(events.map(({ type, body }) => [type, JSON.parse(body).data])).toEqual([
      ['response.incomplete', { id: queued.id }],
    ])
    const direct = await responses.create(asked({ background: false }))
    expect(response.output_text).toBe(direct.output_text)
    const next = await responses.create(asked({ background: false, previous_response_id: queued.id, input: 'go on' }))
    expect(next.previous_response_id).toBe(queued.id)
  })

  test('streams in the order that clients need, and anew from any event, the same bytes', async () => {
    const events: Event[] = []
    for await (const event of await responses.create({ ...asked(), stream: true })) events.push(event)
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, place) => place))
    for (const event of events) {
      const { response, ...rest } = { response: null, ...event }
      const { output_text: _, ...told } = { ...(response as Response | null) }
      expectDocumentedEvent('/v1/responses', response ? { ...rest, response: told } : rest)
    }
    expect(events.slice(0, 3).map(({ type }) => type)).toEqual([
      'response.created',
      'response.queued',
      'response.in_progress',
    ])
    const { id } = (events[0] as OpenAI.Responses.ResponseCreatedEvent).response
    const whole = framesOf(await bytesOf(id))
    expect(whole).toHaveLength(events.length)
    for (const after of [
      0,
      1,
      2,
      Math.floor(events.length / 2),
      events.length - 2,
      events.length - 1,
      events.length + 5,
    ])
      expect(framesOf(await bytesOf(id, `&starting_after=${after}`))).toEqual(whole.slice(after + 1))
    const again: Event[] = []
    for await (const event of await responses.retrieve(id, { stream: true, starting_after: 2 })) again.push(event)
    expect(again).toEqual(events.slice(3))
    const helped = await responses.stream({ response_id: id, starting_after: 4 }).finalResponse()
    expect(helped.output_text).toBe((await responses.retrieve(id)).output_text)
  })

  test('that was not streamed has a stream of its beginning and its end', async () => {
    const { id } = await responses.create(asked())
    const types = framesOf(await bytesOf(id)).map((frame) => /^event: (\S+)/.exec(frame)![1])
    expect(types).toEqual(['response.created', 'response.queued', 'response.incomplete'])
  })

  test('is cancelled, once: nothing runs on, its stream has an end, and what was stored of it is what it costs', async () => {
    const name = await createdStream({ max_output_tokens: 900, ignore_eos: true })
    await eventually(async () => ((await jobOf(name)).chunk_count > 0 ? true : null))
    const cancelled = await responses.cancel(name)
    expect(cancelled).toMatchObject({ status: 'cancelled', background: true })
    expect(await responses.cancel(name)).toEqual(cancelled)
    const frames = framesOf(await bytesOf(name))
    expect(frames.at(-1)).toContain('event: response.incomplete\n')
    expect(frames.at(-1)).toContain('"status":"cancelled"')
    // Where it had come to its end on the node, what was not stored is given back when the node tells of it.
    await eventually(async () => {
      const [used] = await stack.sql`select * from usage where request_id = ${requestIdOf(name)}`
      if (used?.outcome === 'revoked')
        return Number(used.completion_tokens) <= Number(used.delivered_tokens) + 8 ? true : null
      return used && (await paid(name, requestIdOf(name))) < BigInt(used.cost_nanousd) ? true : null
    })
    const told = await stack.sql`select type from outbox where body like ${`%${name}%`}`
    expect(told.map(({ type }) => type)).toEqual(['response.cancelled'])
    await responses.delete(name)
    await expect(responses.retrieve(name)).rejects.toMatchObject({ status: 404 })
  })

  test(`is cancelled at drawn points (${CANCELLED}): it costs what was stored of it, and no more than a step or two besides`, async () => {
    const random = seededRandom()
    const long = { max_output_tokens: 900, ignore_eos: true }
    for (let i = 0; i < CANCELLED; i += 1) {
      const id = await createdStream(long)
      const frames: string[] = []
      await readSome(id, frames, 2 + random.below(12))
      const { status } = await responses.cancel(id)
      expect(['cancelled', 'incomplete']).toContain(status)
      const whole = framesOf(await bytesOf(id))
      expect(whole.slice(0, frames.length)).toEqual(frames)
      expect(whole.at(-1)).toMatch(/^event: response\.incomplete\n/)
      expect((await responses.retrieve(id)).status).toBe(status)
    }
    await eventually(async () => {
      const open =
        await stack.sql`select from reservations where account_id = ${customer.account_id} and state = 'pending'`
      return open.length === 0 ? true : null
    })
    const used = await stack.sql`select outcome, completion_tokens::int, delivered_tokens::int from usage u
      where outcome = 'revoked' and account_id = ${customer.account_id}`
    for (const { completion_tokens, delivered_tokens } of used)
      expect(completion_tokens).toBeLessThanOrEqual(delivered_tokens + 8)
    expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
  })

  test('is one for an Idempotency-Key, however often it is asked for, streamed or not', async () => {
    const ask = (changes: object, idempotency_key: string) =>
      responses.create(asked(changes), { headers: { 'idempotency-key': idempotency_key } })
    const key = `background ${Date.now()}`
    const [first, ...others] = await Promise.all(
      Array.from({ length: 4 }, () => insisting(() => ask({ max_output_tokens: 4 }, key))),
    )
    expect(new Set(others.map(({ id }) => id))).toEqual(new Set([first!.id]))
    await expect(ask({ max_output_tokens: 5 }, key)).rejects.toMatchObject({
      status: 422,
      code: 'idempotency_mismatch',
    })
    const streamed = () =>
      customer.fetch('/v1/responses', {
        method: 'POST',
        headers: {
          authorization: `Bearer ${customer.api_key}`,
          'content-type': 'application/json',
          'idempotency-key': `${key} streamed`,
        },
        body: JSON.stringify(asked({ max_output_tokens: 4, stream: true } as object)),
      })
    const texts = [await (await streamed()).text(), await (await streamed()).text()]
    expect(framesOf(texts[1]!)).toEqual(framesOf(texts[0]!))
    expect(framesOf(texts[0]!).at(-1)).toMatch(/^event: response\.incomplete\n/)
    const jobs = await stack.sql`select from jobs where id = ${requestIdOf(first!.id)}`
    expect(jobs).toHaveLength(1)
  })

  test('says what it is made from before it has ended, and where it has no answer', async () => {
    const { id } = await responses.create(asked({ max_output_tokens: 900, ignore_eos: true }))
    const { data } = await responses.inputItems.list(id)
    expect(data).toMatchObject([{ type: 'message', role: 'user', content: [{ type: 'input_text', text: body.input }] }])
    await responses.cancel(id)
    expect((await responses.inputItems.list(id)).data).toEqual(data)
  })

  test('outlives its node: it is paid once, and every reader sees the same bytes', async () => {
    const long = { max_output_tokens: 900, ignore_eos: true }
    const direct = await responses.create(asked({ ...long, background: false }))
    const ids = await Promise.all(Array.from({ length: 6 }, () => createdStream(long)))
    const readers = ids.map((id) => bytesOf(id))
    await eventually(async () => ((await jobOf(ids[0]!)).chunk_count > 0 ? true : null))
    stack.node.kill('SIGKILL')
    await stack.restartNode()
    let again = 0
    for (const [i, id] of ids.entries()) {
      const response = await ended(id)
      expect(response).toMatchObject({ error: null, status: 'incomplete' })
      expect(response.output_text).toBe(direct.output_text)
      const whole = framesOf(await bytesOf(id))
      expect(framesOf(await readers[i]!)).toEqual(whole)
      const job = await jobOf(id)
      again += job.attempts - 1
      expect(await paid(id, job.request_id)).toBe(await costOf(job.request_id))
    }
    expect(again).toBeGreaterThan(0)
    expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
  })
})

const RESUMES = draws('RESUMED_STREAMS', { few: 3, all: 500 })
const RESUMED_TOKENS = RESUMES > 3 ? 400 : 100
const AT_ONCE = 6

describe('streams in the background', () => {
  test('that are cut and resumed anywhere, over restarts of the gateway, end with the same bytes for every reader', async () => {
    const random = seededRandom()
    let left = RESUMES
    const restarting = restartNowAndThen(random, () => left > 0)
    const readers = Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        left -= 1
        const id = await insisting(() =>
          createdStream({
            max_output_tokens: 60 + random.below(RESUMED_TOKENS),
            ignore_eos: true,
            seed: random.below(99),
          }),
        )
        const frames = await readInCuts(id, random)
        await insisting(async () => expect(frames).toEqual(framesOf(await bytesOf(id))))
        expect(frames.at(-1)).toMatch(/^event: response\.incomplete\n/)
      }
    })
    await Promise.all([restarting, ...readers])
    const jobs =
      await stack.sql`select state, attempts from jobs where state not in ('incomplete', 'completed', 'cancelled')`
    expect(jobs).toEqual([])
    expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
  })
})

/** All events of a stream, read in pieces: each connection is left after some events, by a client that counts what it has. */
async function readInCuts(id: string, random: Random): Promise<string[]> {
  const frames: string[] = []
  while (!/^event: (response\.(completed|incomplete|failed)|error)\n/.test(frames.at(-1) ?? '')) {
    const wanted = 1 + random.below(12)
    await insisting(() => readSome(id, frames, wanted))
  }
  return frames
}

async function readSome(id: string, frames: string[], wanted: number): Promise<void> {
  const after = frames.length === 0 ? '' : `&starting_after=${frames.length - 1}`
  const cut = new AbortController()
  const answer = await customer.fetch(`/v1/responses/${id}?stream=true${after}`, { signal: cut.signal })
  if (!answer.ok) throw new Error(String(answer.status))
  const until = frames.length + wanted
  let text = ''
  for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) {
    const pieces = (text + part).split(/(?<=\n\n)/)
    text = pieces.at(-1)!.endsWith('\n\n') ? '' : pieces.pop()!
    frames.push(...framesOf(pieces.join('')).slice(0, until - frames.length))
    if (frames.length === until) return cut.abort()
  }
}

/** What readers were answered; a gateway lives for some of these, however slow the machine is. */
let answers = 0

async function restartNowAndThen(random: Random, goesOn: () => boolean): Promise<void> {
  for (let restarts = 0; restarts === 0 || goesOn(); restarts += 1) {
    const until = answers + 1 + random.below(RESUMES > 3 ? 60 : 8)
    while (answers < until && goesOn()) await sleep(random.below(20))
    await stack.restartGateway()
  }
}

/** Asked again while the gateway is away. */
async function insisting<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await ask()
      answers += 1
      return answer
    } catch (error) {
      const { status } = error as { status?: number }
      if ((error as Error).name === 'AssertionError' || (status && status < 500 && status !== 409) || tries > 2000)
        throw error
      await sleep(50)
    }
  }
}

/** The id of a response whose stream is begun, and left. */
async function createdStream(changes: object): Promise<string> {
  for await (const event of await responses.create({ ...asked(changes), stream: true }))
    if (event.type === 'response.created') return event.response.id
  throw new Error('nothing was created')
}

async function costOf(request_id: string): Promise<bigint> {
  const [used] = await stack.sql`select cost_nanousd from usage where request_id = ${request_id}`
  expect(BigInt(used!.cost_nanousd)).toBeGreaterThan(0n)
  return BigInt(used!.cost_nanousd)
}

/** What was charged for all attempts of a job that had two at most, without what was given back. */
async function paid(id: string, last_attempt: string): Promise<bigint> {
  const booked = await stack.sql`
    select kind, amount_nanousd from entries where request_id in (${requestIdOf(id)}, ${last_attempt})`
  return booked.reduce(
    (sum, { kind, amount_nanousd }) => sum + (kind === 'refund' ? -1n : 1n) * BigInt(amount_nanousd),
    0n,
  )
}
