// What a Prometheus reads from a node: every series vLLM's Grafana board asks for, and numbers that add up.

import { request as httpRequest } from 'node:http'
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type FakeNode, startFakeNode } from '../../support/fake-node.ts'
import { generate } from '../../support/generate.ts'

interface Series {
  name: string
  labels: Record<string, string>
  value: number
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/

/** The text format, read strictly: each series has a HELP and a TYPE before it. */
function parse(text: string): Series[] {
  const series: Series[] = []
  const types = new Map<string, string>()
  for (const line of text.split('\n').filter(Boolean)) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
    if (type) types.set(type[1]!, type[2]!)
    if (line.startsWith('#')) continue
    const [, name, labels, value] = LINE.exec(line) ?? expect.fail(`not a series: ${line}`)
    const family = name!.replace(/_(bucket|sum|count)$/, '')
    expect(types.has(name!) || types.get(family) === 'histogram', `${name} has a type`).toBe(true)
    const pairs = [...(labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key!, text!])
    series.push({ name: name!, labels: Object.fromEntries(pairs), value: Number(value) })
  }
  return series
}

const scrape = async (node: { url: string }) => parse(await (await fetch(`${node.url}/metrics`)).text())

async function read(node: { url: string }, name: string, labels: Record<string, string> = {}): Promise<number> {
  const found = (await scrape(node)).filter(
    (series) => series.name === name && Object.entries(labels).every(([key, value]) => series.labels[key] === value),
  )
  expect(found, name).toHaveLength(1)
  return found[0]!.value
}

async function until(is_so: () => Promise<boolean>): Promise<void> {
  while (!(await is_so())) await sleep(5)
}

// examples/observability/prometheus_grafana/grafana.json of vLLM at 4b5c627c (2026), every series its panels query …
const BOARD = [
  ...['bucket', 'sum', 'count'].flatMap((part) =>
    ['e2e_request_latency_seconds', 'inter_token_latency_seconds', 'time_to_first_token_seconds'].map(
      (name) => `${name}_${part}`,
    ),
  ),
  ...['prompt_tokens_total', 'generation_tokens_total', 'num_requests_running', 'num_requests_waiting'],
  ...['kv_cache_usage_perc', 'request_prompt_tokens_bucket', 'request_generation_tokens_bucket'],
  ...['request_success_total', 'request_queue_time_seconds_sum', 'request_prefill_time_seconds_sum'],
  ...['request_decode_time_seconds_sum', 'request_max_num_generation_tokens_sum'],
]
// … and what boards of other versions ask for besides.
const OTHER_BOARDS = [
  ...['gpu_cache_usage_perc', 'time_per_output_token_seconds_bucket', 'num_preemptions_total'],
  ...['prefix_cache_queries_total', 'prefix_cache_hits_total', 'iteration_tokens_total_bucket'],
  ...['spec_decode_num_drafts_total', 'spec_decode_num_draft_tokens_total', 'spec_decode_num_accepted_tokens_total'],
  ...['request_inference_time_seconds_bucket', 'request_params_n_bucket', 'request_params_max_tokens_bucket'],
]

describe('the text', () => {
  test.each([...BOARD, ...OTHER_BOARDS])('has vllm:%s for the model, before the first request too', async (name) => {
    const node = await startFakeNode()
    const found = (await scrape(node)).filter((series) => series.name === `vllm:${name}`)
    expect(found.length).toBeGreaterThan(0)
    for (const { labels, value } of found) {
      expect(labels.model_name).toBe('test-model')
      expect(value).not.toBeNaN()
    }
  })

  test('says nothing of whose request it was or what it said', async () => {
    const node = await startFakeNode()
    const ticket = { account_id: 'the-account', key_id: 'the-key', cache_salt: 'the-salt' }
    const request_id = crypto.randomUUID()
    await (await generate(node.url, { request_id, prompts: [[{ text: 'the-prompt' }]] }, { ticket })).json()
    const text = await (await fetch(`${node.url}/metrics`)).text()
    expect(text).toContain('vllm:request_success_total{finished_reason="length"')
    for (const secret of [...Object.values(ticket), request_id, 'the-prompt']) expect(text).not.toContain(secret)
    const names = new Set((await scrape(node)).flatMap(({ labels }) => Object.keys(labels)))
    expect([...names].sort()).toEqual(['engine', 'finished_reason', 'le', 'model_name'])
  })

  test('has the bounds of vLLM', async () => {
    const node = await startFakeNode({ context_tokens: 64 })
    const bounds = (series: Series[], name: string) =>
      series.filter((one) => one.name === `vllm:${name}_bucket`).map(({ labels }) => labels.le)
    const series = await scrape(node)
    expect(bounds(series, 'request_prompt_tokens')).toEqual(['1', '2', '5', '10', '20', '50', '+Inf'])
    expect(bounds(series, 'time_to_first_token_seconds')).toHaveLength(23)
    expect(bounds(series, 'inter_token_latency_seconds')).toHaveLength(20)
    expect(bounds(series, 'e2e_request_latency_seconds')).toHaveLength(22)
  })
})

describe('the numbers', () => {
  test('of requests, choices and tokens add up', async () => {
    const node = await startFakeNode()
    const requests = [{ n: 3, max_tokens: 7 }, { max_tokens: 1 }, { max_tokens: 12, stream: true }]
    for (const request of requests) await (await generate(node.url, request)).text()
    const { usage } = (await (await generate(node.url, { max_tokens: 1 })).json()) as {
      usage: { prompt_tokens: number }
    }
    const at = (name: string, labels = {}) => read(node, `vllm:${name}`, labels)
    expect(await at('request_success_total', { finished_reason: 'length' })).toBe(6)
    expect(await at('generation_tokens_total')).toBe(3 * 7 + 1 + 12 + 1)
    expect(await at('prompt_tokens_total')).toBe(4 * usage.prompt_tokens)
    expect(await at('time_to_first_token_seconds_count')).toBe(6)
    expect(await at('inter_token_latency_seconds_count')).toBe(3 * 6 + 11)
    expect(await at('inter_token_latency_seconds_bucket', { le: '+Inf' })).toBe(3 * 6 + 11)
    expect(await at('e2e_request_latency_seconds_count')).toBe(6)
    expect(await at('request_queue_time_seconds_count')).toBe(6)
    expect(await at('request_prefill_time_seconds_count')).toBe(6)
    expect(await at('request_decode_time_seconds_count')).toBe(6)
    expect(await at('request_generation_tokens_sum')).toBe(3 * 7 + 1 + 12 + 1)
    expect(await at('request_max_num_generation_tokens_sum')).toBe(7 + 1 + 12 + 1)
    expect(await at('request_params_n_sum')).toBe(6)
  })

  test('of time are those of the phases: queue, prefill and decode make the whole', async () => {
    const node = await startFakeNode({ engine: { step_ms: 20 }, config: { sequences_max: 1 } })
    await Promise.all([1, 2].map(async () => (await generate(node.url, { max_tokens: 10 })).json()))
    const sum = (name: string) => read(node, `vllm:${name}_seconds_sum`)
    const [queue, prefill, decode, run] = await Promise.all(
      ['request_queue_time', 'request_prefill_time', 'request_decode_time', 'request_inference_time'].map(sum),
    )
    expect(queue).toBeGreaterThan(0.15) // the second waits for all ten steps of the first; a timer may be early
    expect(prefill).toBeGreaterThan(0.03)
    expect(decode).toBeGreaterThan(2 * 9 * 0.015)
    expect(run).toBeCloseTo(prefill! + decode!, 6)
    expect(await sum('e2e_request_latency')).toBeCloseTo(queue! + run!, 6)
    expect(await sum('inter_token_latency')).toBeCloseTo(decode!, 6)
  })

  test('of what runs, waits and holds blocks are those of the moment', async () => {
    const node = await startFakeNode({ engine: { step_ms: 5 }, config: { sequences_max: 1 } })
    const leaving = new AbortController()
    const streams = [1, 2, 3].map(() =>
      generate(node.url, { stream: true, max_tokens: 3000 }, { signal: leaving.signal }),
    )
    await Promise.all(streams)
    await until(async () => (await read(node, 'vllm:num_requests_running')) === 1)
    expect(await read(node, 'vllm:num_requests_waiting')).toBe(2)
    expect(await read(node, 'vllm:kv_cache_usage_perc')).toBeGreaterThan(0)
    leaving.abort()
    await until(async () => (await read(node, 'vllm:request_success_total', { finished_reason: 'abort' })) === 3)
    expect(await read(node, 'vllm:num_requests_running')).toBe(0)
    expect(await read(node, 'vllm:kv_cache_usage_perc')).toBe(0)
  })

  test('of drafts are guesses, tokens guessed and tokens guessed right', async () => {
    const node = await startFakeNode()
    const request = { logit_bias: [[300, 100]] as [number, number][], max_tokens: 60 } // one token over and over
    await (await generate(node.url, request)).json()
    const [drafts, proposed, accepted] = await Promise.all(
      ['drafts', 'draft_tokens', 'accepted_tokens'].map((name) => read(node, `vllm:spec_decode_num_${name}_total`)),
    )
    expect(drafts).toBeGreaterThan(0)
    expect(proposed).toBeGreaterThanOrEqual(drafts!)
    expect(accepted).toBeGreaterThan(0)
    expect(accepted).toBeLessThanOrEqual(proposed!)
    expect(await read(node, 'vllm:generation_tokens_total')).toBe(60)
    // A step that gives several tokens is one gap, as vLLM counts them.
    expect(await read(node, 'vllm:inter_token_latency_seconds_count')).toBeLessThan(59)
  })

  test('of the prefix cache are tokens', async () => {
    const node = await startFakeNode()
    const prompts = [[{ text: 'a prompt of more than one block, said twice '.repeat(4) }]]
    await (await generate(node.url, { prompts })).json()
    expect(await read(node, 'vllm:prefix_cache_hits_total')).toBe(0)
    await (await generate(node.url, { prompts })).json()
    const hits = await read(node, 'vllm:prefix_cache_hits_total')
    expect(hits).toBeGreaterThan(0)
    expect(await read(node, 'vllm:prefix_cache_queries_total')).toBeGreaterThan(hits)
  })
})

describe('who may read it', () => {
  const TOKEN = 'token-for-who-watches'
  const statusOf = (node: FakeNode, headers: Record<string, string> = {}, host = '127.0.0.1') =>
    new Promise<number>((resolve, reject) => {
      const { port } = new URL(node.url)
      httpRequest({ host, port, path: '/metrics', headers }, (response) => resolve(response.resume().statusCode!))
        .on('error', reject)
        .end()
    })
  const elsewhere = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === 'IPv4' && !address.internal)?.address

  test('this machine, without a secret', async () => {
    expect(await statusOf(await startFakeNode())).toBe(200)
  })

  test.each(['x-forwarded-for', 'forwarded', 'via', 'cf-connecting-ip'])(
    'nobody through a proxy on this machine (%s)',
    async (header) => {
      expect(await statusOf(await startFakeNode(), { [header]: '203.0.113.7' })).toBe(404)
    },
  )

  test('who shows the metrics token, from anywhere', async () => {
    const node = await startFakeNode({ config: { metrics_token: TOKEN } })
    const proxied = { 'x-forwarded-for': '203.0.113.7' }
    expect(await statusOf(node, proxied)).toBe(401)
    expect(await statusOf(node, { ...proxied, authorization: 'Bearer another-token' })).toBe(401)
    expect(await statusOf(node, { ...proxied, authorization: `Bearer ${TOKEN}` })).toBe(200)
  })

  test.skipIf(!elsewhere)('nobody from another address without it', async () => {
    const open = await startFakeNode({ config: { host: '0.0.0.0' } })
    expect(await statusOf(open, {}, elsewhere)).toBe(404)
    const guarded = await startFakeNode({ config: { host: '0.0.0.0', metrics_token: TOKEN } })
    expect(await statusOf(guarded, {}, elsewhere)).toBe(401)
    expect(await statusOf(guarded, { authorization: `Bearer ${TOKEN}` }, elsewhere)).toBe(200)
  })
})
