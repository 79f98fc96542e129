// Models that judge: values as transformers computes them, of folders as they are published, through the node's own runner; and one through
// the real gateway to the bill. The values are those of test/vectors/make_reward_vectors.py; the weights are remade here.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { neutralSampling } from '../../../../../contract/internal/generation.ts'
import { llamaReward } from '../../../../../gpu-node/run/native/architecture/llama-reward.ts'
import { loadEngine } from '../../../../../gpu-node/run/native/engine.ts'
import { judgedParts } from '../../../../../gpu-node/run/native/judged.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { NativeRunner } from '../../../../../gpu-node/run/native/runner.ts'
import type { RunEvent, RunRequest } from '../../../../../gpu-node/run/runner.ts'
import { startService } from '../../../../../gpu-node/service.ts'
import { createFundedKey } from '../../../../../local/demo-account.ts'
import { startGateway } from '../../../../../local/gateway.ts'
import { registerNode } from '../../../../../local/register-node.ts'
import { bundledOnce, PATIENT } from '../../../../support/gateway.ts'
import { NODE_ID } from '../../../../support/generate.ts'
import { TICKET_SEED } from '../../../../support/keys.ts'
import { nodeConfig } from '../../../../support/native-runner.ts'
import { eventually } from '../../../../support/patience.ts'
import { ledgerFindings, startTestPostgres } from '../../../../support/postgres.ts'
import { modelFiles, type RandomFolder } from '../../../../support/random-weights.ts'
import { folderWith } from '../../../../support/safetensors.ts'

interface Configuration extends Omit<RandomFolder, 'architecture' | 'shape'> {
  cases: { tokens: number[]; score: number }[]
}

const { configurations } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/llama-reward.json'), 'utf8'),
) as { configurations: Configuration[] }

const LIMITS = { blocks: 256, batch_tokens_max: 64, sequences_max: 32, waiting_max: 100 }

const filesOf = (configuration: Configuration) => {
  const { architecture, shape } = modelConfig(configuration.config, null)
  return modelFiles({ ...configuration, architecture, shape })
}

async function runnerOf(files: Record<string, string | Buffer>) {
  const model = readModelFolder(folderWith(files))
  const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 2, ...LIMITS }, () => {})
  return { model, runner: new NativeRunner({ model, engine, limits: LIMITS, lookahead: 'off' }) }
}

const request = (prompts: number[][]): RunRequest => ({
  ...{
    request_id: 'r',
    model: 'm',
    prompts: prompts.map((tokens) => [{ tokens }]),
    n: 1,
    max_tokens: 0,
    min_tokens: 0,
  },
  ...{
    max_tokens_is_default: false,
    stop: [],
    stop_token_ids: [],
    include_stop: false,
    ignore_eos: false,
    logit_bias: [],
  },
  ...{ logprobs: 0, echo: false, priority: 'interactive', sampling: { ...neutralSampling, seed: '1' } },
})

describe.each(configurations)('$name ($format, $dtype)', (configuration) => {
  // Keys and values are kept in fp16, a number to 2^-11.
  test('values are those of transformers within a thousandth, all at once and again from the cache', async () => {
    const { runner } = await runnerOf(filesOf(configuration))
    const { cases } = configuration
    const ended: RunEvent[] = []
    await runner.open({
      onStep: async ({ events }) => void ended.push(...events),
      onFailed: (error) => expect.fail(String(error)),
    })
    const size = Math.hypot(...cases.map(({ score }) => score))
    for (const salt of ['a', 'a']) {
      ended.length = 0
      const run = runner.prepare(request(cases.map(({ tokens }) => tokens)), salt)
      run.start()
      await eventually(async () => (ended.length === cases.length ? true : null))
      const off = cases.map(({ score }, i) => {
        const { logprobs, finish, tokens, text } = ended.find(({ choice }) => choice === i)!
        expect({ finish, tokens, text }).toEqual({ finish: 'length', tokens: 0, text: '' })
        return logprobs[0]!.logprob! - score
      })
      expect(Math.hypot(...off) / size).toBeLessThan(1e-3)
      expect(run.usage.prompt_tokens).toBe(cases.reduce((sum, { tokens }) => sum + tokens.length, 0))
    }
    await runner.close()
  })
})

const [small] = configurations

test('a folder without the bias of its head is refused by name', () => {
  const { shape } = modelConfig(small!.config, null)
  const architecture = { ...llamaReward, tensorsOf: () => llamaReward.tensorsOf(shape).slice(0, -1) }
  const files = modelFiles({ ...small!, architecture, shape })
  expect(() => readModelFolder(folderWith(files))).toThrow(
    expect.objectContaining({ code: 'weights_missing_tensor', message: 'the weights lack value_head.bias' }),
  )
})

test('it reads a text in its own format and the end of a sequence, which its tokenizer may add', async () => {
  const ends = { 'tokenizer_config.json': JSON.stringify({ add_eos_token: true }) }
  const generation = { 'generation_config.json': JSON.stringify({ eos_token_id: 2 }) }
  const { runner, model } = await runnerOf({ ...filesOf(small!), ...ends, ...generation })
  const judged = { query: 'q</s>', answer: 'a' }
  const [parts] = await runner.format([[{ judged }]])
  expect(parts).toEqual([{ special: '<s>' }, { text: 'Human:q</s>\n\nAssistant:a' }, { tokens: [2] }])
  const [ids] = runner.encode([parts!])
  expect([ids![0], ids!.at(-1), ids!.filter((id) => id === 2).length]).toEqual([1, 2, 1])
  await expect(runner.format([[{ special: '<s>' }, { text: 'a' }]])).rejects.toMatchObject({ code: 'wrong_model' })
  const { architecture: _, ...other } = model
  expect(() => judgedParts({ judged }, other)).toThrow(expect.objectContaining({ code: 'wrong_model' }))
  await runner.close()
})

test('scores and ranks come through the real gateway, and are billed by their tokens', async () => {
  const generation = { 'generation_config.json': JSON.stringify({ eos_token_id: 2 }) }
  const { runner } = await runnerOf({ ...filesOf(small!), ...generation })
  const db = await startTestPostgres()
  onTestFinished(() => db.stop())
  const admin_key = 'admin-key-of-the-tests'
  const gateway = await startGateway({
    ...{ port: 0, database_url: db.url, worker: await bundledOnce(), ticket_seeds: TICKET_SEED, admin_key },
    ...{ vars: PATIENT, log: () => {} },
  })
  onTestFinished(() => gateway.stop())
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-judge-'))
  onTestFinished(() => rmSync(data_dir, { recursive: true, force: true }))
  const model = 'ziya-coding-mini'
  const config = nodeConfig({ model_id: model, data_dir, gateway_url: gateway.url })
  const node = await startService({ config, runner, log: pino({ level: 'silent' }) })
  onTestFinished(() => node.drain())
  await registerNode(db.url, { id: NODE_ID, url: node.url, model, key: node.public_key })
  const { api_key } = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'customer', '10000000000')
  const headers = { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' }
  const post = async (path: string, body: object) => {
    const answer = await fetch(gateway.url + path, {
      method: 'POST',
      headers,
      body: JSON.stringify({ model, ...body }),
    })
    return { status: answer.status, id: answer.headers.get('x-request-id')!, body: (await answer.json()) as Answer }
  }
  await eventually(async () => ((await post('/v1/score', { text_1: 'a', text_2: 'b' })).status === 200 ? true : null))

  const documents = ['long long', 'b', '中文', 'long']
  const scored = await post('/v1/score', { text_1: 'q', text_2: documents })
  expect(scored.body).toMatchObject({ object: 'list', model, usage: { completion_tokens: 0 } })
  const scores = scored.body.data.map(({ score }) => score)
  expect(new Set(scores).size).toBe(documents.length)
  const alone = await post('/v1/score', { text_1: ['q'], text_2: ['中文'] })
  expect(alone.body.data).toEqual([{ index: 0, object: 'score', score: scores[2] }])

  const ranked = await post('/v1/rerank', { query: 'q', documents, top_n: 3 })
  const order = scores.map((relevance_score, index) => ({
    index,
    document: { text: documents[index] },
    relevance_score,
  }))
  expect(ranked.body.results).toEqual(order.sort((a, b) => b.relevance_score - a.relevance_score).slice(0, 3))
  const plain = await post('/v1/rerank', { query: 'q', documents: ['b'], return_documents: false })
  expect(plain.body.results).toEqual([{ index: 0, relevance_score: scores[1] }])
  expect(await post('/v1/completions', { prompt: 'a' })).toMatchObject({
    status: 400,
    body: { error: { code: 'invalid_value', param: 'model' } },
  })

  for (const { id, body } of [scored, alone, ranked, plain]) {
    const { value: row } = await eventually(async () => {
      const [settled] = await db.sql`
        select u.prompt_tokens::int, u.completion_tokens::int, u.outcome, u.account_id::text,
          u.cost_nanousd = (u.prompt_tokens - u.cached_tokens) * p.input_nanousd_per_token
            + u.cached_tokens * p.cached_input_nanousd_per_token as is_exact
        from usage u join reservations r using (request_id) join prices p on p.model = r.model and p.version = r.price_version
        where u.request_id = ${id}`
      return settled ?? null
    })
    const { prompt_tokens } = body.usage
    expect(row).toMatchObject({ prompt_tokens, completion_tokens: 0, outcome: 'length', is_exact: true })
    expect(await ledgerFindings(db.sql, [row.account_id])).toEqual([])
  }
})

interface Answer {
  usage: { prompt_tokens: number }
  data: { score: number }[]
  results: unknown
}
