// Verified answers on the whole service: the embedded model with its own node, and a node before an engine that writes what it is told to,
// whose candidates cheat. CHEATED=500 draws as many cheats and problems; VERIFIED_KILLS=20 kills the node as often.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toFile } from 'openai'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Verification } from '../../contract/internal/generation.ts'
import { chatCompletion, type VerificationReport } from '../../contract/public/openai.ts'
import { Judges } from '../../gpu-node/run/verified/judges.ts'
import { VerifyingRunner } from '../../gpu-node/run/verified/runner.ts'
import { type Service, startService } from '../../gpu-node/service.ts'
import { registerNode } from '../../local/register-node.ts'
import { openSandbox } from '../../sandbox/sandbox.ts'
import { humanEval } from '../eval/humaneval.ts'
import { cheats } from '../sandbox/cheats.ts'
import { draws } from '../support/draws.ts'
import { FakeUpstream } from '../support/fake-upstream.ts'
import { NODE_ID } from '../support/generate.ts'
import { nodeConfig } from '../support/native-runner.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'
import {
  type Customer,
  embeddedModel,
  eventually,
  newCustomer,
  startTestStack,
  type TestStack,
} from '../support/stack.ts'
import { connectTo } from '../support/upstream-node.ts'

const { sandbox, reason } = await openSandbox()
await sandbox.close()
const is_confined = reason === null
if (!is_confined) console.warn(`verified answers are skipped: ${reason}`)

const model = 'ziya-coding-mini'
const EASY = {
  prompt: 'Check whether text is a palindrome. Name the function palindrome_for_me.',
  tests: `assert palindrome_for_me('level') == True\nassert palindrome_for_me('ab') == False`,
}
const random = seededRandom()

let stack: TestStack
let customer: Customer

beforeAll(async () => {
  if (!is_confined) return
  stack = await startTestStack(embeddedModel, {}, {}, { verify: true })
  stack.keepUp(() => {})
  customer = await newCustomer(stack)
})
afterAll(() => stack?.stop())

const chat = (content: string, tests: string, more: object = {}, verify: object = {}) => ({
  ...{ model, temperature: 0, max_tokens: 96, messages: [{ role: 'user', content }] },
  verify: { language: 'python', tests, candidates: 2, ...verify },
  ...more,
})
const post = (path: string, body: object, signal?: AbortSignal) =>
  customer.fetch(path, { method: 'POST', body: JSON.stringify(body), ...(signal && { signal }) })
const read = async <T>(answer: Promise<Response>) => (await (await answer).json()) as T

/** Its receipt, once it is settled. */
async function receiptOf(request_id: string) {
  type Receipt = { state: string; cost_nanousd: string; completion_tokens: number; verification?: VerificationReport }
  const settled = async () => {
    const receipt = await read<Receipt>(customer.fetch(`/v1/usage/${request_id}`))
    return receipt.state === 'pending' ? null : receipt
  }
  return (await eventually(settled)).value
}

test.runIf(is_confined)(
  'an answer that passes says so, as its one receipt does, and costs no more than was said before',
  async () => {
    const body = chat(EASY.prompt, EASY.tests, {}, { attempts: 2 })
    const estimate = await read<{ cost_nanousd_max: string; completion_tokens_max: number }>(post('/v1/estimate', body))
    expect(estimate.completion_tokens_max).toBe(96 * 2 * 2)
    const response = await post('/v1/chat/completions', body)
    const answer = chatCompletion.parse(await response.json())
    expect(answer.verification).toMatchObject({ passed: true, attempts: 1, chosen: 0 })
    expect(answer.choices[0]!.message.content).toContain('def palindrome_for_me')
    const receipt = await receiptOf(response.headers.get('x-request-id')!)
    expect(receipt).toMatchObject({
      state: 'posted',
      verification: { language: 'python', passed: true, attempts: 1, candidates: 2 },
    })
    expect(receipt.completion_tokens).toBe(answer.usage.completion_tokens)
    expect(BigInt(receipt.cost_nanousd)).toBeLessThanOrEqual(BigInt(estimate.cost_nanousd_max))
  },
)

test.runIf(is_confined)('what does not go with tests is refused by name', async () => {
  const refused = async (path: string, body: object) =>
    (await read<{ error: { code: string; param: string } }>(post(path, body))).error
  const { prompt, tests } = EASY
  expect(await refused('/v1/chat/completions', chat(prompt, tests, { n: 2 }))).toMatchObject({
    code: 'invalid_value',
    param: 'n',
  })
  expect(await refused('/v1/chat/completions', chat(prompt, tests, {}, { candidates: 9 }))).toMatchObject({
    param: 'verify.candidates',
  })
  expect(await refused('/v1/chat/completions', chat(prompt, 'x'.repeat(65_537)))).toMatchObject({
    param: 'verify.tests',
  })
  const text = { model, prompt: ['a', 'b'], verify: { language: 'python', tests } }
  expect(await refused('/v1/completions', text)).toMatchObject({ param: 'prompt' })
})

test.runIf(is_confined)('a line of a batch is verified, and billed as one', async () => {
  const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: chat(EASY.prompt, EASY.tests) }
  const { client } = customer
  const file = await client.files.create({
    purpose: 'batch',
    file: await toFile(Buffer.from(JSON.stringify(line)), 'in.jsonl'),
  })
  const { id } = await client.batches.create({
    input_file_id: file.id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  })
  const ended = async () => {
    await stack.gateway.runScheduled()
    const batch = await client.batches.retrieve(id)
    return batch.status === 'completed' ? batch : null
  }
  const { value: batch } = await eventually(ended)
  const [written] = (await (await client.files.content(batch.output_file_id!)).text())
    .trim()
    .split('\n')
    .map((one) => JSON.parse(one))
  expect(written.response.body.verification).toMatchObject({ passed: true, language: 'python' })
})

test.runIf(is_confined)('a node that is killed while it verifies charges nothing, and works again', async () => {
  for (let i = draws('VERIFIED_KILLS', { few: 0, all: 10 }); i > 0; i--) {
    const endless = chat(EASY.prompt, 'while True: pass')
    const lost = post('/v1/chat/completions', endless).catch(() => null)
    await eventually(async () =>
      (await stack.sql`select from reservations where state = 'pending'`).length > 0 ? true : null,
    )
    stack.node.kill('SIGKILL')
    await lost
    const passed = async () => {
      const response = await post('/v1/chat/completions', chat(EASY.prompt, EASY.tests))
      return response.ok ? await response.json() : null
    }
    expect((await eventually(passed)).value).toMatchObject({ verification: { passed: true } })
  }
  expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
})

/** A node of another model before an engine that says what each message names. */
async function openCheating(said: Map<string, string>): Promise<Service & { close: () => Promise<void> }> {
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-cheating-'))
  const upstream = await FakeUpstream.start()
  upstream.behave = ({ body }) => ({
    expects: 'whole',
    answer: async (talk) => {
      talk.head()
      talk.compute(7)
      await talk.event(
        talk.chunk(
          `\`\`\`python\n${said.get(body.messages?.at(-1)?.content ?? textIn(body.prompt))}\n\`\`\``,
          {},
          'stop',
        ),
      )
      await talk.event({ ...talk.chunk(''), choices: [], usage: talk.usage })
      await talk.event('[DONE]')
      talk.response.end()
    },
  })
  const inner = await connectTo(upstream)
  const judges = await Judges.open({ folder: join(data_dir, 'judges'), processes_max: 2 })
  const runner = new VerifyingRunner({ inner, judges, onFault: () => {} })
  const { keys } = await read<{ keys: { x: string }[] }>(fetch(`${stack.gateway_url}/.well-known/ticket-keys.json`))
  const settings = {
    model_id: 'Ziya-Coding-34B-v1.0',
    data_dir,
    gateway_url: stack.gateway_url,
    ticket_keys: keys.map(({ x }) => x),
  }
  const node = await startService({ config: nodeConfig(settings), runner, log: pino({ level: 'silent' }) })
  await registerNode(stack.database_url, { id: NODE_ID, url: node.url, model: settings.model_id, key: node.public_key })
  const close = async () => {
    await node.drain()
    rmSync(data_dir, { recursive: true, force: true })
  }
  return { ...node, close }
}

const textIn = (prompt: string | number[] | undefined) => /case \d+/.exec(String(prompt))?.[0] ?? ''

test.runIf(is_confined)(
  'no candidate cheats itself to a pass, and each case is billed once',
  { timeout: 3_600_000 },
  async () => {
    const said = new Map<string, string>()
    const node = await openCheating(said)
    try {
      await eventually(
        async () =>
          (await stack.sql`select from registered_nodes where id = ${NODE_ID} and 'python' = any (verifies)`).length >
            0 || null,
      )
      const cases = Array.from({ length: draws('CHEATED', { few: 2, all: 200 }) }, (_, i) => {
        const problem = random.pick(humanEval.problems)
        const cheat = random.pick(cheats)
        const name = `case ${i}`
        said.set(name, cheat.program(problem.prompt, problem.entry_point!))
        const { tests } = problem.task('')
        return {
          name,
          cheat,
          problem,
          verify: { tests, language: 'python' as Verification['language'], candidates: 2 },
        }
      })
      const right = random.pick(humanEval.problems)
      said.set('case 9999', right.prompt + right.canonical)
      const { tests } = right.task('')
      cases.push({
        name: 'case 9999',
        cheat: cheats[0]!,
        problem: right,
        verify: { tests, language: 'python', candidates: 2 },
      })
      for (const { name, cheat, problem, verify } of cases) {
        const body = {
          model: 'Ziya-Coding-34B-v1.0',
          max_tokens: 64,
          messages: [{ role: 'user', content: name }],
          verify,
        }
        const response = await post('/v1/chat/completions', body)
        const answer = chatCompletion.parse(await response.json())
        expect(answer.verification!.passed, `${cheat.name}: ${problem.id}`).toBe(name === 'case 9999')
      }
      expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
    } finally {
      await node.close()
    }
  },
)
