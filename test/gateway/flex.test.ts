// service_tier: flex, its price and its place in the queue; and that no other request is touched by it.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'

let gateway: TestGateway
let caller: Caller

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const [INPUT, OUTPUT] = ['7', '30']
const body = { model, messages: [{ role: 'user', content: 'q' }], max_tokens: 4 }
const completion = { model, prompt: 'x', max_tokens: 4 }

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const publish = (more: object = {}) =>
  gateway.admin('/admin/prices', {
    ...{ model, service_tier: 'flex', input_nanousd_per_token: INPUT, output_nanousd_per_token: OUTPUT },
    ...more,
  })

describe('before it has a price', () => {
  test.each([
    [CHAT, body],
    [COMPLETIONS, completion],
  ])('it is refused by its name: %s', async (path, given) => {
    const runs = gateway.node.accepted.length
    const refused = await errorOf(await caller.post(path, { ...given, service_tier: 'flex' }))
    expect(refused).toMatchObject({ status: 400, code: 'unsupported_parameter', param: 'service_tier' })
    expect(refused.message).toContain('flex')
    expect(gateway.node.accepted.length).toBe(runs)
  })

  test('an estimate says so', async () => {
    const told = await (await caller.post('/v1/estimate', { ...body, service_tier: 'flex' })).json()
    expect(told).toMatchObject({ admitted: false, refusal: { code: 'unsupported_parameter' }, pricing: null })
  })
})

describe('with a price', () => {
  beforeAll(async () => {
    const published = await publish()
    expect(published.status).toBe(201)
    expect(await published.json()).toMatchObject({ service_tier: 'flex', output_nanousd_per_token: OUTPUT })
  })

  async function asked(path: string, given: object) {
    const response = await caller.post(path, given)
    const text = await response.text()
    expect(response.status, text).toBe(200)
    const id = response.headers.get('x-request-id')!
    const { value: usage } = await eventually(async () => {
      const usage = (await (await caller.get(`/v1/usage/${id}`)).json()) as Record<string, string | number>
      return usage.state === 'posted' ? usage : null
    })
    const ignored = response.headers.get('x-ignored-parameters')
    return { text, ignored, usage, request: gateway.node.accepted.at(-1)!.request }
  }

  test.each([
    [CHAT, body],
    [COMPLETIONS, completion],
    [CHAT, { ...body, stream: true }],
  ])('it waits behind others, is told and charged as such: %s', async (path, given) => {
    const { text, ignored, usage, request } = await asked(path, { ...given, service_tier: 'flex' })
    expect([request.priority, request.service_tier, ignored]).toEqual(['batch', 'flex', null])
    expect(text).toContain('"service_tier":"flex"')
    expect(usage).toMatchObject({
      ...{ service_tier: 'flex', input_nanousd_per_token: INPUT, output_nanousd_per_token: OUTPUT },
      cost_nanousd: String(5 * Number(INPUT) + Number(usage.completion_tokens) * Number(OUTPUT)),
    })
    const held = 4 * Number(OUTPUT) + Number(INPUT)
    expect(Number(usage.reserved_nanousd)).toBeGreaterThanOrEqual(held)
    expect(Number(usage.reserved_nanousd) % Number(INPUT)).toBe((4 * Number(OUTPUT)) % Number(INPUT))
  })

  test.each<[string | null | undefined, string | undefined]>([
    [undefined, undefined],
    [null, undefined],
    ['auto', 'default'],
    ['default', 'default'],
    ['priority', undefined],
  ])('%s is the default', async (service_tier, told) => {
    const { text, ignored, usage, request } = await asked(CHAT, { ...body, service_tier })
    expect([request.priority, request.service_tier]).toEqual(['interactive', told])
    expect(JSON.parse(text).service_tier).toBe(told)
    expect(ignored).toBe(service_tier === 'priority' ? 'service_tier' : null)
    expect(usage).toMatchObject({ service_tier: 'default', output_nanousd_per_token: '60' })
  })

  test('an estimate is by it', async () => {
    const estimate = async (service_tier?: string) =>
      (await (await caller.post('/v1/estimate', { ...body, service_tier })).json()) as Record<string, unknown>
    expect(await estimate('flex')).toMatchObject({
      ...{ admitted: true, service_tier: 'flex', pricing: { output_nanousd_per_token: OUTPUT } },
      cost_nanousd_max: String(5 * Number(INPUT) + 4 * Number(OUTPUT)),
    })
    expect(await estimate()).toMatchObject({ service_tier: 'default', pricing: { output_nanousd_per_token: '60' } })
  })

  test('the price of the model stays what it was, and the book has both', async () => {
    const { pricing } = (await (await caller.get(`/v1/models/${model}`)).json()) as { pricing: object }
    expect(pricing).toMatchObject({ output_nanousd_per_token: '60' })
    const book = await gateway.admin(`/admin/prices?model=${model}`, undefined, 'GET')
    const { data } = (await book.json()) as { data: { service_tier: string }[] }
    expect(data.map(({ service_tier }) => service_tier)).toEqual(['flex', 'default'])
    expect(((await (await publish()).json()) as { version: number }).version).toBe(2) // it is published already
  })

  test('one that is agreed with an account is before the list', async () => {
    await publish({ account_id: caller.account_id, output_nanousd_per_token: '11' })
    const { usage } = await asked(CHAT, { ...body, service_tier: 'flex' })
    expect(usage).toMatchObject({ service_tier: 'flex', output_nanousd_per_token: '11' })
    expect((await asked(CHAT, body)).usage).toMatchObject({ output_nanousd_per_token: '60' })
    const other = await gateway.newCaller()
    const answer = await other.post(CHAT, { ...body, service_tier: 'flex' })
    const receipt = await other.get(`/v1/usage/${answer.headers.get('x-request-id')}`)
    expect(await receipt.json()).toMatchObject({ output_nanousd_per_token: OUTPUT })
  })
})
