// The catalog is data: what is published is served within seconds by every gateway that runs, by its names, in the place of what no node
// serves, at its price; and what is not a catalog changes nothing.
//   CATALOG_FAULTS=2000 npm test -- test/gateway/catalog

import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { CatalogModel } from '../../../contract/public/catalog.ts'
import type { Model } from '../../../contract/public/model.ts'
import { CATALOG, readCatalog } from '../../../local/catalog.ts'
import { type RunningGateway, startGateway } from '../../../local/gateway.ts'
import { type CannedNode, startCannedNode } from '../../support/canned-node.ts'
import { draws } from '../../support/draws.ts'
import { newGate } from '../../support/gate.ts'
import {
  admin_key,
  bundledOnce,
  type Caller,
  callerOf,
  errorOf,
  model,
  PATIENT,
  startTestGateway,
  type TestGateway,
} from '../../support/gateway.ts'
import { TICKET_SEED } from '../../support/keys.ts'
import { ledgerFindings } from '../../support/postgres.ts'
import { seededRandom } from '../../support/random.ts'
import { eventually } from '../../support/stack.ts'

const released = readCatalog(CATALOG)
const row: CatalogModel = {
  id: 'tiny',
  template: 'plain',
  context_tokens: 512,
  created: '2026',
  owned_by: 'me',
  price: { input_nanousd_per_token: '3', output_nanousd_per_token: '7' },
}

let gateway: TestGateway
let other: RunningGateway
let tiny: CannedNode
let caller: Caller

beforeAll(async () => {
  gateway = await startTestGateway()
  const secrets = { ticket_seeds: TICKET_SEED, admin_key }
  other = await startGateway({
    port: 0,
    database_url: gateway.db.url,
    worker: await bundledOnce(),
    assets: {},
    ...secrets,
    vars: PATIENT,
    rate_limits: { FLOOD: 1e9, FAILED_AUTHENTICATION: 1e9 },
    log: () => {},
  })
  tiny = await startCannedNode({ ...gateway.node_options, model: 'tiny', node_id: 'tiny' })
  caller = await gateway.newCaller()
})
afterAll(async () => {
  await tiny?.stop()
  await other?.stop()
  await gateway?.stop()
})
afterEach(() => {
  gateway.node.calm()
  tiny.calm()
})

/** Publishes these rows behind those of the release; resolves when both gateways have them. */
async function publish(...rows: CatalogModel[]): Promise<{ version: number }> {
  const answer = await gateway.admin('/admin/catalog', { models: [...released, ...rows] })
  expect(answer.status).toBe(200)
  const published = (await answer.json()) as { version: number }
  const marks = rows.flatMap(({ id, aliases = [] }) => [id, ...aliases])
  for (const url of [gateway.url, other.url])
    await eventually(async () => {
      const names = new Set((await modelsAt(url)).map(({ id }) => id))
      return marks.every((name) => names.has(name)) && names.size === expected(rows).size ? true : null
    })
  return published
}

const expected = (rows: CatalogModel[]) =>
  new Set([...released, ...rows].flatMap(({ id, aliases = [] }) => [id, ...aliases]))

async function modelsAt(url: string, { api_key }: Caller = caller): Promise<Model[]> {
  const answer = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${api_key}` } })
  return ((await answer.json()) as { data: Model[] }).data
}

function ask(name: string, more: object = {}, init?: RequestInit): Promise<Response> {
  return caller.post('/v1/completions', { model: name, prompt: 'x', max_tokens: 4, ...more }, init)
}

async function receiptOf(answer: Response): Promise<Record<string, string>> {
  const id = answer.headers.get('x-request-id')
  const { value } = await eventually(async () => {
    const receipt = (await (await caller.get(`/v1/usage/${id}`)).json()) as Record<string, string>
    return receipt.state === 'pending' ? null : receipt
  })
  return value
}

async function newKey(models: string[]): Promise<Caller> {
  const body = { account_id: caller.account_id, name: 'limited', models, scopes: ['generate', 'usage'] }
  const { id, key } = (await (await gateway.admin('/admin/keys', body)).json()) as { id: string; key: string }
  return callerOf(gateway.url, { account_id: caller.account_id, key_id: id, api_key: key })
}

test('what is published is served by every gateway that runs, in its order, at its price', async () => {
  await publish(row)
  const listed = await modelsAt(other.url)
  expect(listed.map(({ id }) => id)).toEqual([...released.map(({ id }) => id), 'tiny'])
  expect(listed.at(-1)).toMatchObject({
    context_length: 512,
    created: Date.UTC(2026) / 1000,
    available: true,
    pricing: { input_nanousd_per_token: '3', output_nanousd_per_token: '7' },
  })
  const answer = await ask('tiny')
  expect(answer.status).toBe(200)
  const receipt = await receiptOf(answer)
  expect(receipt).toMatchObject({ model: 'tiny', state: 'posted', input_nanousd_per_token: '3' })
  expect(receipt.asked_model).toBeUndefined()
})

test('what is listed says of each model what is known of it', async () => {
  const listed = Object.fromEntries((await modelsAt(gateway.url)).map((shown) => [shown.id, shown]))
  expect(listed['Ziya-Coding-34B-v1.0']).toMatchObject({ humaneval: { pass_at_1_percent: 75.5 }, available: false })
  expect(listed['Ziya-LLaMA-7B-Reward']).toMatchObject({ judges: true })
  expect(listed['Ziya-BLIP2-14B-Visual-v1']!.unserved).toMatch(/pictures/)
  const refused = await errorOf(await ask('Ziya-BLIP2-14B-Visual-v1'))
  expect(refused).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
  expect(refused.message).toMatch(/cannot be served here\. It reads pictures/)
})

describe('an alias', () => {
  beforeAll(() => publish({ ...row, aliases: ['coder', 'small'] }))

  test('answers by the name that was asked for, and is billed as its model', async () => {
    const answer = await ask('coder')
    expect(answer.headers.get('x-served-model')).toBe('tiny')
    expect(await answer.json()).toMatchObject({ model: 'coder' })
    expect(await receiptOf(answer)).toMatchObject({
      model: 'tiny',
      asked_model: 'coder',
      output_nanousd_per_token: '7',
    })
    expect((await ask('tiny')).headers.get('x-served-model')).toBeNull()
  })

  test('is listed behind all models, with what stands behind it', async () => {
    const listed = (await modelsAt(gateway.url)).slice(-2)
    expect(listed.map(({ id, alias_of }) => [id, alias_of])).toEqual([
      ['coder', 'tiny'],
      ['small', 'tiny'],
    ])
    expect(await (await caller.get('/v1/models/small')).json()).toEqual(listed[1])
  })

  test.each(['/v1/tokenize', '/v1/estimate'])('is a name of %s', async (path) => {
    expect((await caller.post(path, { model: 'small', prompt: 'x' })).status).toBe(200)
  })

  test('is what a key may use that names it, or its model, and no other', async () => {
    for (const [models, status] of [
      [['coder'], 200],
      [['tiny'], 200],
      [['small'], 403],
    ] as const) {
      const limited = await newKey([...models])
      expect((await limited.post('/v1/completions', { model: 'coder', prompt: 'x' })).status).toBe(status)
      expect((await limited.post('/v1/tokenize', { model: 'coder', prompt: 'x' })).status).toBe(status)
      const shown = (await modelsAt(gateway.url, limited)).map(({ id }) => id)
      expect(shown.includes('coder')).toBe(status === 200)
    }
    const other_name = await newKey(['coder'])
    expect((await other_name.post('/v1/completions', { model: 'tiny', prompt: 'x' })).status).toBe(403)
  })
})

describe('in the place of a model that no node serves', () => {
  const wanted: CatalogModel = {
    ...row,
    id: 'wanted',
    price: { input_nanousd_per_token: '1', output_nanousd_per_token: '2' },
    fallbacks: ['StarCoder-15B', 'tiny', model],
  }
  beforeAll(() => publish(row, wanted))

  test('the next that is served answers, says so, and is charged at its own price within what was admitted', async () => {
    const answer = await ask('wanted')
    expect(answer.headers.get('x-served-model')).toBe('tiny')
    expect(await answer.json()).toMatchObject({ model: 'tiny' })
    const receipt = await receiptOf(answer)
    expect(receipt).toMatchObject({ model: 'tiny', asked_model: 'wanted', input_nanousd_per_token: '3' })
    expect(BigInt(receipt.cost_nanousd!)).toBeLessThanOrEqual(BigInt(receipt.reserved_nanousd!))
  })

  test('a stream is no other', async () => {
    const answer = await ask('wanted', { stream: true })
    expect(answer.headers.get('x-served-model')).toBe('tiny')
    expect(await answer.text()).toContain('"model":"tiny"')
  })

  test('one whose node refuses before the first byte is gone on from, and gives back what it held', async () => {
    const node = await startCannedNode({ ...gateway.node_options, model: 'wanted', node_id: 'wanted' })
    node.options.refuse = 'draining'
    const key = randomUUID()
    const init = { headers: { 'idempotency-key': key } }
    const answer = await ask('wanted', {}, init)
    await node.stop()
    expect(answer.headers.get('x-served-model')).toBe('tiny')
    const receipt = await receiptOf(answer)
    expect(receipt).toMatchObject({ state: 'posted', model: 'tiny', asked_model: 'wanted' })
    const again = await ask('wanted', {}, init)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(again.headers.get('x-request-id')).toBe(answer.headers.get('x-request-id'))
    expect(await again.text()).toBe(await answer.text())
    expect(await ledgerFindings(gateway.db.sql, [caller.account_id])).toEqual([])
  })

  test('nobody who may not use it, and nothing that it does not take, gets another', async () => {
    const limited = await newKey(['wanted'])
    const refused = await errorOf(await limited.post('/v1/completions', { model: 'wanted', prompt: 'x' }))
    expect(refused).toMatchObject({ status: 503, code: 'model_unavailable' })
    expect((await errorOf(await ask('wanted', { max_tokens: 100_000 }))).status).toBe(400)
  })

  test('what fails for another reason is refused as ever, and no other model is asked', async () => {
    const node = await startCannedNode({ ...gateway.node_options, model: 'wanted', node_id: 'wanted' })
    const count = tiny.accepted.length
    node.options.refuse = 'context_length_exceeded'
    expect((await errorOf(await ask('wanted'))).status).toBe(400)
    node.calm()
    const poor = await gateway.newCaller('1')
    const refused = await poor.post('/v1/completions', { model: 'wanted', prompt: 'x', max_tokens: 500 })
    expect((await errorOf(refused)).status).toBe(429)
    await node.stop()
    expect(tiny.accepted.length).toBe(count)
  })
})

test('a prompt beyond the context that the catalog gives is the caller’s to mend, though the node has a longer one', async () => {
  await publish({ ...row, context_tokens: 8 })
  tiny.options.refuse = 'ceiling_exceeded'
  const refused = await errorOf(await ask('tiny', { prompt: 'x'.repeat(100) }))
  expect(refused).toMatchObject({ status: 400, code: 'context_length_exceeded' })
})

test('a request keeps what it began with, whatever is published while it runs', async () => {
  await publish(row)
  const gate = newGate()
  tiny.options.before_answer = gate.pass
  const running = ask('tiny')
  await eventually(async () => (tiny.accepted.at(-1)?.request.model === 'tiny' ? true : null))
  await publish()
  expect((await errorOf(await ask('tiny'))).code).toBe('model_not_found')
  gate.open()
  const answer = await running
  expect(answer.status).toBe(200)
  expect(await receiptOf(answer)).toMatchObject({ model: 'tiny', state: 'posted' })
})

describe('a price', () => {
  const priced = (input: string): CatalogModel => ({
    ...row,
    id: 'priced-model',
    price: { input_nanousd_per_token: input, output_nanousd_per_token: '9' },
  })
  const versions = async () => {
    const answer = await gateway.admin('/admin/prices?model=priced-model', undefined, 'GET')
    const { data } = (await answer.json()) as { data: { input_nanousd_per_token: string }[] }
    return data.map(({ input_nanousd_per_token }) => input_nanousd_per_token)
  }

  test('that changes in the catalog is published with it, and no other is', async () => {
    await publish(priced('5'))
    expect(await versions()).toEqual(['5'])
    const price = { model: 'priced-model', input_nanousd_per_token: '6', output_nanousd_per_token: '9' }
    await gateway.admin('/admin/prices', price)
    await publish({ ...priced('5'), context_tokens: 600 })
    expect(await versions()).toEqual(['6', '5']) // what was published by itself stays
    await publish(priced('8'))
    expect(await versions()).toEqual(['8', '6', '5'])
  })
})

test('what changed stands in the log of the operators, by its row; what is the same is not published again', async () => {
  const { version } = await publish(row)
  expect(await publish(row)).toMatchObject({ version })
  await publish({ ...row, context_tokens: 700 })
  const { data } = (await (await gateway.admin('/admin/audit', undefined, 'GET')).json()) as { data: object[] }
  expect(data[0]).toMatchObject({
    action: 'publish_catalog',
    subject: `catalog ${version + 1}`,
    before: { tiny: row },
    after: { tiny: { ...row, context_tokens: 700 } },
  })
  const shown = (await (await gateway.admin('/admin/catalog', undefined, 'GET')).json()) as { models: object[] }
  expect(shown).toMatchObject({ version: version + 1, source: 'operator' })
  expect(shown.models).toEqual([...released, { ...row, context_tokens: 700 }])
})

const FAULTS = draws('CATALOG_FAULTS', { few: 40, all: 2000 })

test(`of ${FAULTS} catalogs with a fault each is refused by its field, and the one in force stays`, async () => {
  const random = seededRandom()
  const { version } = await publish(row)
  for (let i = 0; i < FAULTS; i += 1) {
    const { models, param, id } = faulty(random)
    const refused = await errorOf(await gateway.admin('/admin/catalog', { models }))
    expect({ status: refused.status, param: refused.param }, JSON.stringify(models)).toEqual({ status: 400, param })
    if (id !== null) expect(refused.message).toContain(id)
  }
  const shown = (await (await gateway.admin('/admin/catalog', undefined, 'GET')).json()) as object
  expect(shown).toMatchObject({ version })
})

type Random = ReturnType<typeof seededRandom>

/** A catalog of which one field is wrong: which, and of which row. */
function faulty(random: Random): { models: object[]; param: string; id: string | null } {
  const models = structuredClone(released) as Record<string, unknown>[]
  const at = random.below(models.length)
  const { id } = models[at] as { id: string }
  const elsewhere = models[(at + 1) % models.length]!.id as string
  const faults: [field: string, value: unknown][] = [
    ['template', 'chatml'],
    ['template', null],
    ['context_tokens', 0],
    ['context_tokens', 1.5],
    ['context_tokens', '16384'],
    ['created', '2023-13-01'],
    ['created', '1969'],
    ['created', 2023],
    ['owned_by', ''],
    ['max_tokens_default', -1],
    ['sampling.top_p', 0],
    ['sampling.temperature', 'hot'],
    ['price.input_nanousd_per_token', '-1'],
    ['price.output_nanousd_per_token', 60],
    ['price.cached_input_nanousd_per_token', '999999999'],
    ['aliases[0]', elsewhere],
    ['aliases[0]', 'two words'],
    ['fallbacks[0]', id],
    ['fallbacks[0]', 'nobody'],
    ['humaneval.pass_at_1_percent', 101],
    ['judges', false],
    ['colour', 'red'],
  ]
  const [field, value] = random.pick(faults)
  const whole: Record<string, object> = {
    sampling: {},
    price: { input_nanousd_per_token: '1', output_nanousd_per_token: '1' },
    humaneval: { pass_at_1_percent: 1, source: 'x' },
  }
  const [, name, rest] = /^(\w+)(?:\.(\w+)|\[0\])?$/.exec(field)!
  const row = models[at]!
  if (rest) row[name!] = { ...whole[name!], [rest]: value }
  else row[name!] = field.endsWith(']') ? [value] : value
  // An alias that is another row's name is found where that row comes later.
  const is_found_later = field === 'aliases[0]' && value === elsewhere && at + 1 < models.length
  const place = is_found_later ? `models[${at + 1}].id` : `models[${at}].${field}`
  return { models, param: place, id: is_found_later ? elsewhere : id }
}

test('a role that may not change what is served may read it', async () => {
  const made = async (path: string, body: object) =>
    (await (await gateway.admin(path, body)).json()) as { id: string; key: string }
  const { id } = await made('/admin/operators', { name: 'reader', role: 'finance' })
  const { key } = await made('/admin/operator-keys', { operator_id: id })
  const finance = callerOf(gateway.url, { account_id: id, key_id: id, api_key: key })
  expect((await finance.get('/admin/catalog')).status).toBe(200)
  expect((await errorOf(await finance.post('/admin/catalog', { models: released }))).code).toBe('missing_role')
})
