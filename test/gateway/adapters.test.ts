// LoRA adapters through the real gateway and a real node over a small random network: asked by their names, seen and used by their owner
// alone, billed by what they cost. The ids are those of test/vectors/make_lora_vectors.py.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { loadEngine } from '../../gpu-node/run/native/engine.ts'
import { readAdapterFolder } from '../../gpu-node/run/native/load/adapter-folder.ts'
import { modelConfig } from '../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { NativeRunner } from '../../gpu-node/run/native/runner.ts'
import { startService } from '../../gpu-node/service.ts'
import { adapterFolder, type RandomAdapter } from '../support/adapter-folder.ts'
import { type Caller, model, startTestGateway } from '../support/gateway.ts'
import { NODE_ID } from '../support/generate.ts'
import { nodeConfig } from '../support/native-runner.ts'
import { eventually } from '../support/patience.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { modelFiles, type RandomFolder } from '../support/random-weights.ts'
import { folderWith } from '../support/safetensors.ts'

interface Case {
  prompt: number[]
  ids: number[]
}
const { configurations } = JSON.parse(readFileSync(join(import.meta.dirname, '../vectors/lora.json'), 'utf8')) as {
  configurations: (RandomFolder & { cases: Case[]; adapters: (RandomAdapter & { cases: Case[] })[] })[]
}
const [network] = configurations
const [shared, owned] = network!.adapters

const LIMITS = { blocks: 256, batch_tokens_max: 64, sequences_max: 32, waiting_max: 100 }

async function startNode(gateway: Awaited<ReturnType<typeof startTestGateway>>) {
  const { architecture, shape } = modelConfig(network!.config, null)
  const base = readModelFolder(folderWith(modelFiles({ ...network!, architecture, shape })))
  const named = { shared: shared!, owned: owned! }
  const lora = Object.entries(named).map(([name, adapter]) => ({ name, dir: adapterFolder(network!.name, adapter) }))
  const adapters = lora.map(({ name, dir }) => ({ name, ...readAdapterFolder(dir, base) }))
  const options = { device: 'cpu', threads: 2, ...LIMITS, adapters }
  const engine = await loadEngine(base.shape, base.tensors, options, () => {})
  const runner = new NativeRunner({ model: base, engine, adapters, limits: LIMITS, lookahead: 'off' })
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-adapters-'))
  onTestFinished(() => rmSync(data_dir, { recursive: true, force: true }))
  const config = nodeConfig({ model_id: model, data_dir, gateway_url: gateway.url, lora })
  const node = await startService({ config, runner, log: pino({ level: 'silent' }) })
  onTestFinished(() => node.drain())
  const { url, public_key } = node
  await gateway.db.sql`delete from registered_nodes` // the canned one, which has no model
  expect((await gateway.admin('/admin/nodes', { id: NODE_ID, url, model, public_key })).status).toBe(201)
}

interface Answer {
  model: string
  system_fingerprint: string
  choices: { token_ids: number[] }[]
  usage: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number } }
}

async function complete(caller: Caller, asked: string, { prompt, ids }: Case): Promise<Answer & { id: string }> {
  const body = {
    model: asked,
    prompt,
    max_tokens: ids.length,
    temperature: 0,
    ignore_eos: true,
    return_token_ids: true,
  }
  const answer = await caller.post('/v1/completions', body)
  expect(answer.status).toBe(200)
  return { ...((await answer.json()) as Answer), id: answer.headers.get('x-request-id')! }
}

test('adapters are asked by name, seen by their owner alone, and billed by what they cost', async () => {
  const gateway = await startTestGateway()
  onTestFinished(() => gateway.stop())
  const [owner, other] = [await gateway.newCaller(), await gateway.newCaller()]
  await startNode(gateway)
  const create = (body: object) => gateway.admin('/admin/adapters', body)
  expect((await create({ id: 'shared', base: model })).status).toBe(201)
  expect((await create({ id: 'owned', base: model, account_id: owner!.account_id })).status).toBe(201)
  expect((await create({ id: model, base: model })).status).toBe(400)
  expect((await create({ id: 'lost', base: 'no model' })).status).toBe(404)
  expect((await create({ id: 'shared', base: model, account_id: '99999999' })).status).toBe(404)

  const seen = async (caller: Caller) => {
    const { data } = (await (await caller.get('/v1/models')).json()) as { data: Record<string, unknown>[] }
    return data
      .filter(({ parent }) => parent !== null)
      .map(({ id, root, parent, available }) => ({ id, root, parent, available }))
  }
  const over = (id: string) => ({ id, root: model, parent: model, available: true })
  await eventually(async () => ((await seen(owner!))[0]?.available ? true : null))
  expect((await seen(owner!)).map(({ id }) => id).toSorted()).toEqual(['owned', 'shared'])
  expect(await seen(other!)).toEqual([over('shared')])
  for (const path of ['/v1/models/owned', '/v1/models/absent-model']) expect((await other!.get(path)).status).toBe(404)
  expect(await (await owner!.get('/v1/models/owned')).json()).toMatchObject(over('owned'))

  const asks: [string, Case[]][] = [
    [model, network!.cases],
    ['shared', shared!.cases],
    ['owned', owned!.cases],
  ]
  const answers = await Promise.all(
    asks.flatMap(([name, cases]) =>
      cases.map(async (wanted) => ({ name, wanted, answer: await complete(owner!, name, wanted) })),
    ),
  )
  for (const { name, wanted, answer } of answers) {
    expect(answer.model).toBe(name)
    expect(answer.choices[0]!.token_ids).toEqual(wanted.ids)
    expect(answer.usage.prompt_tokens_details.cached_tokens).toBe(0)
  }
  expect(new Set(answers.map(({ answer }) => answer.system_fingerprint)).size).toBe(3)
  const [, long] = shared!.cases
  expect((await complete(owner!, 'shared', long!)).usage.prompt_tokens_details.cached_tokens).toBe(16)
  for (const name of [model, 'owned'])
    expect((await complete(owner!, name, long!)).usage.prompt_tokens_details.cached_tokens).toBe(0)

  const refused = async (asked: string, path = '/v1/completions', more: object = { prompt: 'a' }) => {
    const answer = await other!.post(path, { model: asked, ...more })
    return { status: answer.status, text: (await answer.text()).replaceAll(asked, 'NAME') }
  }
  const paths: [string, object][] = [
    ['/v1/completions', { prompt: 'a', max_tokens: 99_999_999 }],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: 'a' }] }],
    ['/v1/tokenize', { prompt: 'a' }],
  ]
  for (const [path, more] of paths) {
    expect(await refused('owned', path, more)).toEqual(await refused('absent-model', path, more))
    expect((await refused('owned', path, more)).status).toBe(404)
  }
  expect((await owner!.post('/v1/tokenize', { model: 'owned', prompt: 'a' })).status).toBe(200)

  for (const { name, answer } of answers) {
    const { value: receipt } = await eventually(async () => {
      const found = await owner!.get(`/v1/usage/${answer.id}`)
      return found.status === 200 ? ((await found.json()) as Record<string, unknown>) : null
    })
    expect(receipt).toMatchObject({ model: name, completion_tokens: 64 })
  }
  expect(await ledgerFindings(gateway.db.sql, [owner!.account_id, other!.account_id])).toEqual([])

  expect((await gateway.admin('/admin/adapters/shared', undefined, 'DELETE')).status).toBe(200)
  expect((await refused('shared')).status).toBe(404)
  const { data } = (await (await gateway.admin('/admin/adapters', undefined, 'GET')).json()) as {
    data: { id: string }[]
  }
  expect(data.map(({ id }) => id)).toEqual(['owned'])
})
