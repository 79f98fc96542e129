// Any runner can stand behind the seam: one that is no engine of ours serves requests end to end, through the real gateway and
// Postgres, with ticket, journal and a settled bill.

import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { APIConnectionTimeoutError } from 'openai'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { UsageRecord } from '../../../contract/internal/sync.ts'
import { type Service, startService } from '../../../gpu-node/service.ts'
import { createFundedKey } from '../../../local/demo-account.ts'
import { type RunningGateway, startGateway } from '../../../local/gateway.ts'
import { registerNode } from '../../../local/register-node.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { startNodeOver } from '../../support/fake-node.ts'
import { CACHED_TOKENS, FakeRunner, textOfChoice, UNREADABLE } from '../../support/fake-runner.ts'
import { bundledOnce, PATIENT } from '../../support/gateway.ts'
import { framesOf, generate, NODE_ID, textOf } from '../../support/generate.ts'
import { holdTimers } from '../../support/held-timers.ts'
import { journalLines } from '../../support/journal.ts'
import { TICKET_SEED } from '../../support/keys.ts'
import { nodeConfig } from '../../support/native-runner.ts'
import { eventually } from '../../support/patience.ts'
import { ledgerFindings, startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { seededRandom } from '../../support/random.ts'
import { readText } from '../../support/read-text.ts'

const STEP_MS = 10
const GENERATION_MS_MAX = 600_000 // of wrangler.toml
const BEGIN = 1 // the token that the gateway puts before each prompt
const ENDLESS = 900 // tokens; the runner is held before it comes to them
const KEEP_ALIVE_MS = 200 // a fifth of the default

describe('through the real gateway, with a ticket and to the bill', () => {
  const model = 'ziya-coding-mini'
  const admin_key = 'admin-key-of-the-tests'
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-runner-'))
  const runner = new FakeRunner({ step_ms: STEP_MS })
  let db: TestPostgres
  let gateway: RunningGateway
  let node: Service
  let customer: Awaited<ReturnType<typeof createFundedKey>>

  beforeAll(async () => {
    db = await startTestPostgres()
    const secrets = { ticket_seeds: TICKET_SEED, admin_key }
    const worker = await bundledOnce()
    gateway = await startGateway({ port: 0, database_url: db.url, worker, ...secrets, vars: PATIENT, log: () => {} })
    const config = nodeConfig({ model_id: model, data_dir, gateway_url: gateway.url, keep_alive_ms: KEEP_ALIVE_MS })
    node = await startService({ config, runner, log: pino({ level: 'silent' }) })
    await registerNode(db.url, { id: NODE_ID, url: node.url, model, key: node.public_key })
    const isKnown = async () => {
      const health = await fetch(`${gateway.url}/healthz`)
      return ((await health.json()) as { nodes?: Record<string, number> }).nodes?.[model] ? true : null
    }
    await eventually(isKnown)
    customer = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'customer', '10000000000')
  })

  afterAll(async () => {
    await node?.drain()
    expect(runner.closed).toBe(true)
    await gateway?.stop()
    await db?.stop()
    rmSync(data_dir, { recursive: true, force: true })
  })

  function post(body: object, signal: AbortSignal | null = null, { api_key } = customer): Promise<Response> {
    const headers = { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' }
    const whole = JSON.stringify({ model, ...body })
    return fetch(`${gateway.url}/v1/completions`, { method: 'POST', headers, body: whole, signal })
  }

  const idOf = (response: Response) => response.headers.get('x-request-id')!

  afterEach(() => {
    runner.is_held = false
  })

  /** From here on what runs has so many tokens a choice, or is held before its first, and goes on when the test says so. */
  async function holdAfter(steps: number): Promise<void> {
    const until = runner.steps.length + steps
    await eventually(async () => (runner.steps.length >= until ? true : null))
    runner.is_held = true
  }

  /** What the journal's last word on a request is. */
  function journalled(request_id: string): UsageRecord {
    const finished = journalLines(data_dir).flatMap((line) => line.finished ?? [])
    return (
      finished.find((record) => record.request_id === request_id) ?? expect.fail(`${request_id} is not in the journal`)
    )
  }

  /** The row of a settled request, when it has one; its cost and counts are those of the journal, and the books balance. */
  async function bill(request_id: string) {
    const read = async () => {
      const [row] = await db.sql`
        select u.prompt_tokens::int, u.cached_tokens::int, u.completion_tokens::int, u.delivered_tokens::int, u.outcome,
          u.account_id::text, u.cost_nanousd::text as cost, p.input_nanousd_per_token::text as input,
          p.cached_input_nanousd_per_token::text as cached, p.output_nanousd_per_token::text as output
        from usage u join reservations r using (request_id)
          join prices p on p.model = r.model and p.version = r.price_version
        where u.request_id = ${request_id}`
      return row ?? null
    }
    const { value: row } = await eventually(read)
    const { prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome } = row
    const counts = { prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome }
    expect(journalled(request_id)).toMatchObject(counts)
    const cost =
      BigInt(prompt_tokens - cached_tokens) * BigInt(row.input) +
      BigInt(cached_tokens) * BigInt(row.cached) +
      BigInt(completion_tokens) * BigInt(row.output)
    expect(row.cost).toBe(String(cost))
    expect(await ledgerFindings(db.sql, [row.account_id])).toEqual([])
    return counts
  }

  test('a streamed answer has the runner’s text and counts', async () => {
    const response = await post({
      ...{ prompt: 'one two three', max_tokens: 12, stream: true },
      stream_options: { include_usage: true },
    })
    const text = await response.text()
    expect(textOf(text)).toBe(textOfChoice(0, 12))
    const frames = framesOf(text)
    expect(frames.at(-1)).toBe('[DONE]')
    const counts = { prompt_tokens: BEGIN + 3, completion_tokens: 12 }
    expect(frames.at(-2)).toMatchObject({
      usage: { ...counts, prompt_tokens_details: { cached_tokens: CACHED_TOKENS } },
    })
    expect(await bill(idOf(response))).toEqual({
      ...{ ...counts, cached_tokens: CACHED_TOKENS, delivered_tokens: 12, outcome: 'length' },
    })
  })

  test('a whole answer has the choices of each prompt, and each prompt costs once', async () => {
    const response = await post({ prompt: ['one', 'one two'], n: 3, max_tokens: 5 })
    const { choices, usage } = (await response.json()) as {
      choices: { index: number; text: string; finish_reason: string }[]
      usage: object
    }
    expect(choices).toMatchObject(
      [0, 1, 2, 3, 4, 5].map((index) => ({ index, text: textOfChoice(index, 5), finish_reason: 'length' })),
    )
    const prompt_tokens = 2 * BEGIN + 3
    expect(usage).toMatchObject({ prompt_tokens, completion_tokens: 30 })
    expect(await bill(idOf(response))).toMatchObject({ prompt_tokens, completion_tokens: 30, delivered_tokens: 30 })
  })

  test('streams of one step are one write of the journal', async () => {
    const streams = await Promise.all(
      Array.from({ length: 8 }, () => post({ prompt: 'one', max_tokens: 150, stream: true })),
    )
    for (const stream of streams) expect(textOf(await stream.text())).toBe(textOfChoice(0, 150))
    const ids = new Set(streams.map(idOf))
    const written = journalLines(data_dir)
      .map(({ counts = [] }) => counts)
      .map((counts) => counts.filter(([key]) => ids.has(key.split('/')[0]!)).length)
    expect(written.filter((count) => count === 8).length).toBeGreaterThan(10)
    for (const stream of streams) await bill(idOf(stream))
  })

  test('a client that leaves stops its run, and pays for what was generated', async () => {
    const leave = new AbortController()
    const response = await post({ prompt: 'one', max_tokens: ENDLESS, stream: true }, leave.signal)
    const reader = response.body!.getReader()
    await holdAfter(5)
    await readText(reader)
    leave.abort()
    await eventually(async () => (runner.load.running === 0 ? true : null))
    const { completion_tokens, delivered_tokens, outcome } = await bill(idOf(response))
    expect(outcome).toBe('client_gone')
    expect(completion_tokens).toBeGreaterThanOrEqual(4)
    expect(completion_tokens).toBeLessThan(ENDLESS)
    expect(completion_tokens - delivered_tokens).toBeLessThanOrEqual(8)
  })

  describe('a whole answer', () => {
    const LONG = 90 // tokens: nearly a second, with empty lines before the JSON

    /** Sends a request over a socket of its own; the answer’s bytes as they come. */
    function postRaw(body: object) {
      const { hostname, port } = new URL(gateway.url)
      const json = JSON.stringify({ model, ...body })
      const head = [
        'POST /v1/completions HTTP/1.1',
        `host: ${hostname}`,
        `authorization: Bearer ${customer.api_key}`,
        'content-type: application/json',
        `content-length: ${json.length}`,
      ]
      const socket = connect(Number(port), hostname).on('error', () => {})
      socket.write([...head, '', json].join('\r\n'))
      return socket
    }

    const running = (count: number) => async () => (runner.load.running === count ? true : null)

    /** What everything that this customer’s clients left behind cost, once all of it is settled. */
    async function costOfGone(since: Date): Promise<{ cost: bigint; count: number }> {
      const read = async () => {
        const rows = await db.sql`
          select r.state, u.outcome, u.delivered_tokens, u.cost_nanousd from reservations r left join usage u using (request_id)
          where r.account_id = ${customer.account_id} and r.created_at > ${since.toISOString()}::timestamptz`
        return rows.every(({ state }) => state !== 'pending') && rows.length > 0 ? rows : null
      }
      const { value: rows } = await eventually(read, 10_000)
      for (const row of rows) expect(row).toMatchObject({ outcome: 'client_gone', delivered_tokens: '0' })
      return { cost: rows.reduce((sum, row) => sum + BigInt(row.cost_nanousd), 0n), count: rows.length }
    }

    test('that takes long is kept alive, and is the same JSON with the same bill', async () => {
      const response = await post({ prompt: 'one', max_tokens: LONG })
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json'])
      const text = await response.text()
      expect(text).toMatch(/^\n{2,}\{/)
      const { choices, usage } = JSON.parse(text) as { choices: object[]; usage: object }
      expect(choices).toMatchObject([{ text: textOfChoice(0, LONG), finish_reason: 'length' }])
      expect(usage).toMatchObject({ completion_tokens: LONG })
      expect(await bill(idOf(response))).toMatchObject({
        completion_tokens: LONG,
        delivered_tokens: LONG,
        outcome: 'length',
      })
    })

    test('with an Idempotency-Key is kept without the empty lines', async () => {
      const key = crypto.randomUUID()
      const headers = {
        authorization: `Bearer ${customer.api_key}`,
        'content-type': 'application/json',
        'idempotency-key': key,
      }
      const ask = async () => {
        const body = JSON.stringify({ model, prompt: 'one', max_tokens: LONG })
        const answer = await fetch(`${gateway.url}/v1/completions`, { method: 'POST', headers, body })
        return { text: await answer.text(), is_replay: answer.headers.has('idempotency-replayed') }
      }
      const [first, again] = [await ask(), await ask()]
      expect(first.text).toMatch(/^\{/)
      expect(again).toEqual({ text: first.text, is_replay: true })
    })

    test.each(['destroy', 'resetAndDestroy'] as const)(
      'whose client leaves by %s, at any moment, is noticed at the second beat and costs nothing',
      async (leave) => {
        const since = new Date()
        const random = seededRandom()
        const socket = postRaw({ prompt: 'one', max_tokens: ENDLESS })
        await eventually(running(1), 5000)
        await new Promise((resolve) => setTimeout(resolve, random.below(600)))
        socket[leave]()
        const { ms } = await eventually(running(0), 5000)
        expect(ms).toBeLessThan(10 * KEEP_ALIVE_MS) // two, on a machine of its own
        expect(await costOfGone(since)).toEqual({ cost: 0n, count: 1 })
        socket.destroy()
      },
    )

    test('whose official client times out and asks again, as it does by default, is paid once at most', async () => {
      const since = new Date()
      const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: customer.api_key, timeout: 300 })
      const asked = client.completions.create({ model, prompt: 'one', max_tokens: ENDLESS })
      await expect(asked).rejects.toThrow(APIConnectionTimeoutError)
      await eventually(running(0), 4000)
      expect(await costOfGone(since)).toEqual({ cost: 0n, count: 3 })
    })

    test.each([
      ['soon', 5, 503],
      ['later', 60, 200],
    ])('whose run fails %s ends with an error in OpenAI’s shape, and costs nothing', async (_, steps, status) => {
      const answer = post({ prompt: 'one', max_tokens: ENDLESS })
      const before = runner.steps.length
      await eventually(async () => (runner.steps.length > before + steps ? true : null), 20_000)
      runner.failRuns()
      const response = await answer
      expect(response.status).toBe(status)
      expect(JSON.parse(await response.text())).toMatchObject({
        error: { code: 'engine_failed', type: 'server_error' },
      })
      const { value: usage } = await eventually(async () => {
        const [settled] =
          await db.sql`select outcome, cost_nanousd, delivered_tokens from usage where request_id = ${idOf(response)}`
        return settled ?? null
      }, 10_000)
      expect(usage).toEqual({ outcome: 'error', cost_nanousd: '0', delivered_tokens: '0' })
    })
  })

  test.each([true, false])(
    'at its deadline a request ends with what its run still held (streamed: %s)',
    async (stream) => {
      const comeToDeadline = holdTimers(GENERATION_MS_MAX / 2)
      const answer = post({ prompt: 'one', max_tokens: ENDLESS, n: 2, deadline_ms: GENERATION_MS_MAX, stream })
      await holdAfter(5)
      comeToDeadline()
      const response = await answer
      const text = await response.text()
      const body = stream ? null : (JSON.parse(text) as { choices: { text: string; finish_reason: string }[] })
      const { completion_tokens, outcome } = await bill(idOf(response))
      expect(outcome).toBe('deadline')
      for (const choice of [0, 1]) {
        const said = body ? body.choices[choice]!.text : textOf(text, choice)
        expect(said).toBe(`${textOfChoice(choice, completion_tokens / 2)} …`)
      }
      expect(completion_tokens).toBeGreaterThan(2)
      expect(runner.load.running).toBe(0)
    },
  )

  test('a request whose key is revoked is stopped', async () => {
    const other = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'revoked', '10000000000')
    const response = await post({ prompt: 'one', max_tokens: ENDLESS, stream: true }, null, other)
    runner.is_held = true
    const headers = { authorization: `Bearer ${admin_key}` }
    await fetch(`${gateway.url}/admin/keys/${other.key_id}`, { method: 'DELETE', headers })
    expect(framesOf(await response.text()).at(-1)).toMatchObject({ error: { code: 'request_revoked' } })
    expect((await bill(idOf(response))).outcome).toBe('revoked')
    expect(runner.load.running).toBe(0)
  })

  test('what the runner cannot read is refused, never started, and costs nothing', async () => {
    const started = runner.started.length
    const response = await post({ prompt: UNREADABLE, max_tokens: 5 })
    expect(response.status).toBe(500) // the gateway formats prompts: one that no model can read is its own fault
    await response.text()
    expect(runner.started).toHaveLength(started)
    const [account] =
      await db.sql`select pending_nanousd::text as pending from accounts where id = ${customer.account_id}`
    expect(account!.pending).toBe('0')
  })

  test('a run that fails alone ends with an error, and the runner goes on', async () => {
    const failing = await post({ prompt: 'one', max_tokens: ENDLESS, stream: true })
    const reader = failing.body!.getReader()
    await readText(reader)
    await holdAfter(5)
    runner.failRuns()
    runner.is_held = false
    const rest: string[] = []
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest.push(new TextDecoder().decode(part.value))
    expect(framesOf(rest.join('')).at(-1)).toMatchObject({ error: { code: 'engine_failed' } })
    const { outcome, completion_tokens } = await bill(idOf(failing))
    expect(outcome).toBe('error')
    expect(completion_tokens).toBeGreaterThan(3)
    const after = await post({ prompt: 'one', max_tokens: 3 })
    expect(after.status).toBe(200)
    expect((await bill(idOf(after))).completion_tokens).toBe(3)
  })

  test('when the runner is lost its clients are told, the meter is right and the node is given up', async () => {
    runner.is_held = true
    const opening = [1, 2].map(() => post({ prompt: 'one', max_tokens: ENDLESS, stream: true }))
    await eventually(async () => (runner.load.running === 2 ? true : null))
    runner.is_held = false
    await holdAfter(5)
    const streams = await Promise.all(opening)
    const lost = new Error('the address does not answer')
    runner.fail(lost)
    for (const stream of streams) {
      expect(framesOf(await stream.text()).at(-1)).toMatchObject({ error: { code: 'engine_failed' } })
      const { outcome, completion_tokens, delivered_tokens } = await bill(idOf(stream))
      expect(outcome).toBe('error')
      expect(completion_tokens).toBeGreaterThan(3)
      expect(delivered_tokens).toBe(completion_tokens)
    }
    expect(await node.failed).toBe(lost)
    expect((await fetch(`${node.url}/healthz`)).status).toBe(503)
  })
})

describe('at the node', () => {
  const refusalOf = async (response: Response) =>
    ((await response.json()) as { error: { code: string; message: string } }).error

  test('a ticket starts one run, and what it did not pay for starts none', async () => {
    const runner = new FakeRunner({ step_ms: 1 })
    const node = await startNodeOver(runner)
    const request_id = crypto.randomUUID()
    const prompts = [[{ text: 'one two three' }]]
    const answers = await Promise.all([1, 2, 3].map(() => generate(node.url, { request_id, prompts })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401])
    const unpaid = [
      await generate(node.url, { prompts }, { ticket: { prompt_tokens_max: 2 } }),
      await generate(node.url, { prompts, n: 2, max_tokens: 5 }, { ticket: { request_output_tokens_max: 9 } }),
    ]
    for (const response of unpaid) expect((await refusalOf(response)).code).toBe('ceiling_exceeded')
    const unreadable = await generate(node.url, { prompts: [[{ text: UNREADABLE }]] })
    expect([unreadable.status, (await refusalOf(unreadable)).code]).toEqual([400, 'unknown_special'])
    expect(runner.started).toEqual([prompts])
  })

  test('a runner without blocks of its own has a load all the same', async () => {
    const gateway = await FakeGateway.start()
    const node = await startNodeOver(new FakeRunner({ step_ms: 5 }), { gateway_url: gateway.url })
    await eventually(async () => gateway.reports[0] ?? null)
    const status = { running: 0, waiting: 0, blocks_total: 0, blocks_free: 0, context_tokens: 1000 }
    expect(gateway.reports[0]!.node).toMatchObject(status)
    const answer = generate(node.url, { n: 2, max_tokens: 50 })
    await eventually(async () => ((await node.status()).running === 2 ? true : null))
    expect((await fetch(`${node.url}/healthz`)).status).toBe(200)
    await (await answer).text()
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    expect(metrics).toMatch(/vllm:kv_cache_usage_perc\{.*\} 0\n/)
    expect(metrics).toMatch(/vllm:generation_tokens_total\{.*\} 100\n/)
    expect(metrics).toMatch(/vllm:iteration_tokens_total_count\{.*\} 0\n/) // it cannot know what a step computed
    expect(metrics).toMatch(/vllm:time_to_first_token_seconds_count\{.*\} 2\n/)
  })
})
