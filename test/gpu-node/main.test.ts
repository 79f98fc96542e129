// The node as a process, with the real engine and a real trained model: stories260K in test/data.

import { readFileSync } from 'node:fs'
import { freemem } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type LocalNode, type NodeOptions, startNode } from '../../local/node.ts'
import { testData } from '../support/data.ts'
import { FakeGateway } from '../support/fake-gateway.ts'
import { temporaryFolder } from '../support/fake-node.ts'
import { framesOf, generate, NODE_ID, textOf } from '../support/generate.ts'
import { type HeldSteps, holdSteps } from '../support/held-steps.ts'
import { journalLines } from '../support/journal.ts'
import { ticketSigner } from '../support/keys.ts'
import { eventually } from '../support/patience.ts'
import { readText } from '../support/read-text.ts'
import { modelFolder, safetensorsFile, tinyTensors } from '../support/safetensors.ts'
import { sparse34b } from '../support/sparse-model.ts'
import { zeroTensors } from '../support/torch-file.ts'

const published = JSON.parse(readFileSync(testData('stories260K/expected.json'), 'utf8')) as {
  text: string
  max_tokens: number
}
const BOS = [[{ special: '<s>' }]]

async function start(changes: Partial<NodeOptions> = {}): Promise<LocalNode> {
  const node = await startNode({
    model_dir: testData('stories260K'),
    model_id: 'test-model',
    port: 0,
    data_dir: temporaryFolder(),
    gateway_url: 'http://127.0.0.1:9',
    ticket_keys: ticketSigner.x,
    ...changes,
    flags: { threads: 1, node_id: NODE_ID, ...changes.flags },
  })
  onTestFinished(() => node.stop())
  return node
}

const status = async (node: LocalNode) =>
  (await (await fetch(`${node.url}/status`)).json()) as { blocks_free: number; blocks_total: number; running: number }

/** A node whose steps the test holds; they go on in its end. */
async function startHeld(changes: Partial<NodeOptions> = {}): Promise<{ node: LocalNode; steps: HeldSteps }> {
  const steps = holdSteps()
  for (const [name, value] of Object.entries(steps.environment)) vi.stubEnv(name, value)
  const node = await start(changes)
  vi.unstubAllEnvs()
  onTestFinished(async () => {
    steps.letGo()
    await node.stop()
    steps.remove()
  })
  return { node, steps }
}

interface Completion {
  choices: { text: string; finish_reason: string }[]
  usage: { prompt_tokens: number; completion_tokens: number }
}
const completion = async (response: Response) => (await response.json()) as Completion

describe('a node', () => {
  test('reproduces the published text byte for byte, whole and streamed', async () => {
    const node = await start()
    const request = { prompts: BOS, max_tokens: published.max_tokens }
    const whole = await completion(await generate(node.url, request))
    expect(whole.choices[0]).toMatchObject({ text: published.text, finish_reason: 'length' })
    expect(whole.usage).toMatchObject({ prompt_tokens: 1, completion_tokens: published.max_tokens })
    const stream = await (await generate(node.url, { ...request, stream: true })).text()
    expect(textOf(stream)).toBe(published.text)
  })

  test('gives the published text beside random neighbours too', async () => {
    const node = await start()
    const neighbour = (i: number) =>
      generate(node.url, { prompts: [[{ special: '<s>' }, { text: 'Lily '.repeat(i + 1) }]], max_tokens: 20 + 9 * i })
    const neighbours = Array.from({ length: 10 }, (_, i) => neighbour(i))
    const body = await completion(await generate(node.url, { prompts: BOS, max_tokens: published.max_tokens }))
    expect(body.choices[0]!.text).toBe(published.text)
    for (const response of await Promise.all(neighbours)) expect(response.status).toBe(200)
  })

  test('takes a special token in user text as text', async () => {
    const node = await start()
    const tokens = async (part: { text: string } | { special: string }) =>
      (await completion(await generate(node.url, { prompts: [[...BOS[0]!, part]], max_tokens: 1 }))).usage.prompt_tokens
    expect(await tokens({ special: '</s>' })).toBe(2)
    expect(await tokens({ text: '</s>' })).toBeGreaterThan(4)
  })

  test('frees the blocks of a client that leaves in mid-generation', async () => {
    const { node, steps } = await startHeld()
    for (let i = 0; i < 3; i++) {
      steps.allow(20)
      const leaving = new AbortController()
      const response = await generate(
        node.url,
        { prompts: BOS, n: 16, max_tokens: 500, stream: true },
        { signal: leaving.signal },
      )
      await readText(response.body!.getReader())
      expect((await status(node)).running).toBeGreaterThan(0)
      leaving.abort()
      await eventually(async () => {
        const { blocks_free, blocks_total } = await status(node)
        return blocks_free === blocks_total ? true : null
      })
    }
  })

  test('drains on SIGTERM: the running stream ends whole, and the process with 0', async () => {
    const gateway = await FakeGateway.start()
    const node = await start({ gateway_url: gateway.url })
    const request_id = crypto.randomUUID()
    const response = await generate(node.url, { request_id, prompts: BOS, max_tokens: 300, stream: true })
    node.kill('SIGTERM')
    const stream = await response.text()
    expect(framesOf(stream).at(-1)).toBe('[DONE]')
    expect(await node.exited).toEqual({ code: 0, signal: null })
    expect(await gateway.record(request_id, 0)).toMatchObject({ outcome: 'length', completion_tokens: 300 })
  })
})

test('a drain on SIGTERM takes no longer than it may, whoever does not read', async () => {
  const gateway = await FakeGateway.start()
  const flags = { threads: 1, drain_ms_max: 500, buffer_bytes_max: 10_000 }
  const node = await start({ gateway_url: gateway.url, flags })
  const request_id = crypto.randomUUID()
  const request = { request_id, prompts: BOS, n: 64, max_tokens: 500, stream: true, response_id: 'x'.repeat(200) }
  const unread = await generate(node.url, request) // some 10 MB, of which a few fit into what lies between the two
  expect(unread.status).toBe(200)
  node.kill('SIGTERM')
  expect(await node.exited).toEqual({ code: 0, signal: null })
  expect(await gateway.record(request_id, 0)).toMatchObject({ outcome: 'deadline' })
  expect(gateway.reports.at(-1)!.node.state).toBe('stopped')
  await unread.body!.cancel().catch(() => {})
})

test('what was generated before a SIGKILL is settled after a restart, as the journal last counted it', async () => {
  const gateway = await FakeGateway.start()
  gateway.status = 503 // nothing is settled before the crash
  const options = { data_dir: temporaryFolder(), gateway_url: gateway.url }
  const { node: killed, steps } = await startHeld(options)
  const request_id = crypto.randomUUID()
  const finished_id = crypto.randomUUID()
  await (await generate(killed.url, { request_id: finished_id, prompts: BOS, max_tokens: 5 })).json()
  steps.allow(50)
  const response = await generate(killed.url, { request_id, prompts: BOS, n: 32, max_tokens: 500, stream: true })
  const received = (await readUntilKilled(response, () => killed.kill('SIGKILL'))).filter((f) => f !== '[DONE]')
  await killed.exited
  const journalled = lastCounts(options.data_dir, request_id)

  gateway.status = 200
  const restarted = await start(options)
  const record = await gateway.record(request_id)
  expect(record).toMatchObject({ outcome: 'node_lost', prompt_tokens: 1, ...journalled })
  expect(record.completion_tokens).toBeGreaterThanOrEqual(received.length)
  expect(record.completion_tokens).toBeLessThan(32 * 500)
  expect(await gateway.record(finished_id)).toMatchObject({ outcome: 'length', completion_tokens: 5 })
  expect((await generate(restarted.url, { request_id, prompts: BOS })).status).toBe(401) // its ticket is spent
  expect((await generate(restarted.url, { prompts: BOS })).status).toBe(200)
})

async function readUntilKilled(response: Response, kill: () => void) {
  let stream = ''
  try {
    for await (const bytes of response.body!) {
      stream += Buffer.from(bytes).toString()
      if (stream.length > 20_000) kill()
    }
  } catch {
    // the connection broke: that is the point
  }
  return framesOf(stream.slice(0, stream.lastIndexOf('\n\n') + 2))
}

function lastCounts(data_dir: string, request_id: string) {
  const counts = journalLines(data_dir)
    .flatMap(({ counts = [] }) => counts)
    .findLast(([key]) => key === `${request_id}/1`)
  expect(counts, 'the journal counted it').toBeDefined()
  return { completion_tokens: counts![3], delivered_tokens: counts![4] }
}

test.each(['on', 'off'])(
  'a device that is lost ends the process with 1, and what was generated is settled: lookahead %s',
  async (lookahead) => {
    const gateway = await FakeGateway.start()
    gateway.status = 503 // not before the restart
    const options = { data_dir: temporaryFolder(), gateway_url: gateway.url, flags: { threads: 1, lookahead } }
    vi.stubEnv('NODE_OPTIONS', `--import ${join(import.meta.dirname, '../support/lost-device.ts')}`)
    vi.stubEnv('LOST_AT_STEP', '30')
    const node = await start(options)
    vi.unstubAllEnvs()
    const request_id = crypto.randomUUID()
    const response = await generate(node.url, { request_id, prompts: BOS, n: 32, max_tokens: 500, stream: true })
    const frames = framesOf(await response.text())
    expect(frames.at(-1)).toMatchObject({ error: { code: 'engine_failed', type: 'server_error' } })
    expect(await node.exited).toEqual({ code: 1, signal: null })

    gateway.status = 200
    await start(options)
    const record = await gateway.record(request_id, 0)
    expect(record).toMatchObject({ outcome: 'error', completion_tokens: 28 * 32 }) // one step was the node's own
    // The last step may still have been on its way when the device was lost: it was not delivered then, and is not charged.
    expect(record.delivered_tokens).toBeGreaterThanOrEqual(27 * 32)
    expect(record.delivered_tokens).toBeLessThanOrEqual(record.completion_tokens)
  },
)

function weightsOf(value: number): Buffer {
  const tensors = Object.entries(zeroTensors(tinyTensors)).map(([name, { dtype, shape, data }]) => {
    const halves = new Float16Array(data.length / 2).fill(value)
    return [name, { dtype, shape, data: Buffer.from(halves.buffer) }] as const
  })
  return safetensorsFile(Object.fromEntries(tensors))
}

describe('a node that cannot start says why in one line:', () => {
  test.each([
    [
      'weights cut short',
      () => ({ model_dir: modelFolder({ 'model.safetensors': Buffer.alloc(4) }) }),
      'weights_truncated',
    ],
    [
      'a weight that is not finite',
      () => ({ model_dir: modelFolder({ 'model.safetensors': weightsOf(Number.NaN) }) }),
      'weights_not_finite: model.embed_tokens.weight[0, 0]',
    ],
    ['no folder', () => ({ model_dir: '/nowhere' }), 'model_file_missing: /nowhere has no config.json'],
    ['a bad setting', () => ({ flags: { blocks: 'many' } }), '--blocks'],
    ['a short key', () => ({ ticket_keys: 'short' }), '--ticket-keys'],
  ])('%s', async (_, changes, reason) => {
    await expect(start(changes())).rejects.toThrow(reason)
  })

  test.skipIf(freemem() > 60e9)('a model of 34B that this machine has no room for', async () => {
    await expect(start({ model_dir: sparse34b().folder })).rejects.toThrow('out_of_memory')
  })

  test('a port that is taken', async () => {
    const node = await start()
    await expect(start({ port: Number(new URL(node.url).port) })).rejects.toThrow('EADDRINUSE')
  })

  test('a data folder that another node uses', async () => {
    const data_dir = temporaryFolder()
    const node = await start({ data_dir })
    await expect(start({ data_dir })).rejects.toThrow(`another node is using ${data_dir}`)
    node.kill('SIGKILL')
    await node.exited
    await start({ data_dir })
  })
})
