// A batch as large as is taken, beside somebody who waits: what the processes hold of it in memory and work for a line, what it does to the
// time to the first token of streams beside it, and whether each line is answered and billed once, whoever is killed in its course.
//   node bench/batch.ts [--lines 50000] [--kills 20]

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import OpenAI, { toFile } from 'openai'
import postgres from 'postgres'
import { createFundedKey } from '../local/demo-account.ts'
import { type Stack, startStack } from '../local/stack.ts'
import { cpuMs } from './cpu-time.ts'
import { quantile } from './quantile.ts'

const MODEL = 'ziya-coding-mini'
const WARM_UP_LINES = 3000 // what is allocated once is there by then
const ALONE = 150 // streams that are timed before the batch, and as many after it
const STREAM_PAUSE_MS = 250
const SAMPLE_MS = 250
const ENDED = ['completed', 'failed', 'expired', 'cancelled']

const { values } = parseArgs({
  options: { lines: { type: 'string', default: '50000' }, kills: { type: 'string', default: '0' } },
})
const [LINES, KILLS] = [Number(values.lines), Number(values.kills)]

const data_dir = mkdtempSync(join(tmpdir(), 'ziya-batch-'))
const stack = await startStack({
  port: 0,
  model_dir: join(import.meta.dirname, '../models', MODEL),
  database_url: null,
  data_dir,
  vars: { DATABASE_MS_MAX: '5000', REQUESTS_PER_MINUTE: '1000000', TOKENS_PER_MINUTE: '100000000' },
})
const stop = async () => {
  await stack.stop()
  rmSync(data_dir, { recursive: true, force: true })
}
stack.keepUp((line) => console.log(line))
const sql = postgres(stack.database_url, { max: 1, fetch_types: false })
try {
  await run(stack)
} finally {
  await sql.end({ timeout: 5 })
  await stop()
}

async function run(stack: Stack): Promise<void> {
  const [batch_of, waits] = [await clientOf(stack), await clientOf(stack)]
  await whenEnded(batch_of.client, await create(batch_of.client, WARM_UP_LINES))
  const timeAlone = () => firstTokens(waits.client, (times) => times.length < ALONE)
  const before = await timeAlone()
  const memory = watchMemory(stack)
  const work = watchWork(stack)
  const began = performance.now()
  const id = await create(batch_of.client, LINES)
  let is_done = false
  const beside = firstTokens(waits.client, () => !is_done)
  await killInTurn(stack, batch_of.client, id)
  const batch = await whenEnded(batch_of.client, id)
  is_done = true
  const seconds = (performance.now() - began) / 1000
  const grown = memory.stop()
  console.log(`${LINES} lines in ${seconds.toFixed(0)} s (${(LINES / seconds).toFixed(0)} lines/s), ${KILLS} kills`)
  console.table(grown)
  if (KILLS === 0) console.table(work.msALine())
  tellFirstTokens([...before, ...(await timeAlone())], await beside)
  await check(batch_of.client, batch, batch_of.account_id)
}

async function clientOf(stack: Stack) {
  const { api_key, account_id } = await createFundedKey(stack, 'bench', '1000000000000')
  return { account_id, client: new OpenAI({ baseURL: `${stack.gateway_url}/v1`, apiKey: api_key, maxRetries: 3 }) }
}

function lineOf(n: number): string {
  const body = { model: MODEL, max_tokens: 2, messages: [{ role: 'user', content: `sort ${n}` }] }
  return JSON.stringify({ custom_id: `line ${n}`, method: 'POST', url: '/v1/chat/completions', body })
}

async function create(client: OpenAI, count: number): Promise<string> {
  const lines = Array.from({ length: count }, (_, n) => lineOf(n)).join('\n')
  const file = await client.files.create({ file: await toFile(Buffer.from(lines), 'lines.jsonl'), purpose: 'batch' })
  const endpoint = '/v1/chat/completions'
  return (await client.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h' })).id
}

async function whenEnded(client: OpenAI, id: string): Promise<OpenAI.Batch> {
  for (;;) {
    const batch = await client.batches.retrieve(id).catch(() => null)
    if (batch && ENDED.includes(batch.status)) return batch
    await sleep(500)
  }
}

/** Somebody who asks one stream after another; the times to their first tokens, in ms. What a kill takes with it is not counted. */
async function firstTokens(client: OpenAI, goesOn: (times: number[]) => boolean): Promise<number[]> {
  const times: number[] = []
  const messages = [{ role: 'user' as const, content: 'write a function that sorts a list' }]
  while (goesOn(times)) {
    const began = performance.now()
    try {
      const stream = await client.chat.completions.create({ model: MODEL, max_tokens: 8, stream: true, messages })
      let first: number | null = null
      for await (const { choices } of stream) if (choices[0]?.delta.content) first ??= performance.now() - began
      if (first !== null) times.push(first)
    } catch {}
    await sleep(STREAM_PAUSE_MS)
  }
  return times
}

/** Kills one process after another, each when its share of the lines is answered. */
async function killInTurn(stack: Stack, client: OpenAI, id: string): Promise<void> {
  for (let kill = 1; kill <= KILLS; kill++) {
    while ((await answered(client, id)) < (LINES * kill) / (KILLS + 1)) await sleep(200)
    const victim = (['node', 'gateway', 'postgres'] as const)[kill % 3]!
    console.log(`kill ${kill}: ${victim} after ${await answered(client, id)} lines`)
    process.kill(stack[victim]!.pid, 'SIGKILL')
  }
}

async function answered(client: OpenAI, id: string): Promise<number> {
  const batch = await client.batches.retrieve(id).catch(() => null)
  return batch?.request_counts?.completed ?? 0
}

/**
 * How much more memory of its own each process holds at most than when this was called, in the first half of the samples and in the second.
 * What replaces one that was killed is compared to it.
 */
function watchMemory(stack: Stack) {
  const now = (): Record<string, number> => ({
    gateway: ownMegabytes(stack.gateway.pid),
    node: ownMegabytes(stack.node.pid),
    'the largest of Postgres': largestBackend(stack.postgres!.pid),
  })
  const [before, samples] = [now(), [now()]]
  const sampling = setInterval(() => samples.push(now()), SAMPLE_MS)
  return {
    stop: () => {
      clearInterval(sampling)
      const half = Math.ceil(samples.length / 2)
      return Object.entries(before).map(([process, megabytes]) => {
        const grown = (some: typeof samples) => Math.round(Math.max(...some.map((one) => one[process]!)) - megabytes)
        return {
          process,
          'before, MB': Math.round(megabytes),
          'grown, MB': grown(samples.slice(0, half)),
          'grown in the second half, MB': grown(samples.slice(half)),
        }
      })
    },
  }
}

/** How much processor each has used for a line, with what was asked beside the batch. */
function watchWork({ gateway, node, postgres }: Stack) {
  const now = () => ({
    gateway: cpuMs(gateway.pid),
    node: cpuMs(node.pid),
    Postgres: cpuMs(postgres!.pid, { children: true }),
  })
  const before = now()
  return {
    msALine: () =>
      Object.entries(now()).map(([process, ms]) => ({
        process,
        'CPU, ms a line': ((ms - before[process as keyof typeof before]) / LINES).toFixed(2),
      })),
  }
}

/** Memory that is no file's and not shared; 0 where the process has just ended. */
function ownMegabytes(pid: number): number {
  try {
    const [, kilobytes] = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
    return Number(kilobytes) / 1024
  } catch {
    return 0
  }
}

function largestBackend(postmaster: number): number {
  const backends = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === postmaster)
  return Math.max(0, ...backends.map((pid) => ownMegabytes(Number(pid))))
}

function parentOf(pid: string): number | null {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  } catch {
    return null
  }
}

function tellFirstTokens(alone: number[], beside: number[]): void {
  const rows = { alone, beside, ratio: null }
  console.table(
    Object.entries(rows).map(([what, times]) => {
      const at = (q: number) => (times ? quantile(times, q) : quantile(beside, q) / quantile(alone, q))
      return {
        'first token, ms': what,
        streams: times?.length ?? '',
        p50: at(0.5).toFixed(2),
        p95: at(0.95).toFixed(2),
      }
    }),
  )
}

/** Each line has one answer, and each answer one bill. */
async function check(client: OpenAI, batch: OpenAI.Batch, account_id: string): Promise<void> {
  const text = await (await client.files.content(batch.output_file_id!)).text()
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { custom_id: string; response: { request_id: string } })
  const ids = lines.map(({ response }) => response.request_id)
  const [billed] = await sql`
    select count(*)::int as requests, count(distinct request_id)::int as distinct_requests from usage
    where account_id = ${account_id} and request_id = any (string_to_array(${ids.join()}, ',')::uuid[])`
  const answered_once = new Set(lines.map(({ custom_id }) => custom_id)).size
  console.log({ status: batch.status, ...batch.request_counts, answers: lines.length, answered_once, ...billed })
  if (answered_once !== LINES || lines.length !== LINES || billed!.requests !== LINES) process.exitCode = 1
}
