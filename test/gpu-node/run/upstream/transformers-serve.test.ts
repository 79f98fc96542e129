// A real engine of others behind an address: `transformers serve`, with the embedded model. What comes through the node is the text that it
// gives by itself, and what is billed is its own count, also where clients leave.
//   TRANSFORMERS_PYTHON=/path/to/python UPSTREAM_REQUESTS=2000 npm test -- test/gpu-node/run/upstream/transformers-serve.test.ts
// TRANSFORMERS_PYTHON is a Python with transformers[serving], accelerate, requests, sentencepiece, protobuf and tiktoken; without it there
// is nothing to ask.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../../../local/port.ts'
import { FakeGateway } from '../../../support/fake-gateway.ts'
import { startNodeOver } from '../../../support/fake-node.ts'
import { generate } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { embeddedModel } from '../../../support/stack.ts'
import { connectTo } from '../../../support/upstream-node.ts'

const python = process.env.TRANSFORMERS_PYTHON
const REQUESTS = Number(process.env.UPSTREAM_REQUESTS ?? 60)
const MINUTES = 60_000

const prompts = [
  'def sort(',
  'def fibonacci(n):\n',
  '# 快速排序\ndef ',
  'class Stack:\n    def push(self',
  'for i in range(',
]

interface Asked {
  prompt: string
  max_tokens: number
}

function asked(random: Random): Asked {
  return { prompt: random.pick(prompts), max_tokens: 1 + random.below(24) }
}

interface Counted {
  text: string
  prompt_tokens: number
  completion_tokens: number
}

describe.skipIf(!python)('beside transformers serve (where TRANSFORMERS_PYTHON names a Python that has it)', () => {
  let url: string
  let server: ChildProcess
  let home: string
  const known = new Map<string, Counted>()

  beforeAll(async () => {
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    const options = ['--host', '127.0.0.1', '--port', String(port), '--device', 'cpu']
    home = mkdtempSync(join(tmpdir(), 'ziya-transformers-'))
    mkdirSync(join(home, 'hub')) // which it lists, and without which it cannot say what it serves
    const environment = { ...process.env, HF_HUB_OFFLINE: '1', HF_HOME: home }
    const serve = ['-m', 'transformers.cli.transformers', 'serve', embeddedModel, ...options]
    server = spawn(python!, serve, { env: environment, stdio: process.env.UPSTREAM_LOG ? 'inherit' : 'ignore' })
    await eventually(async () => {
      expect(server.exitCode).toBeNull()
      return (await fetch(`${url}/health`).catch(() => null))?.ok ? true : null
    })
  }, 5 * MINUTES)
  afterAll(() => {
    server?.kill('SIGKILL')
    rmSync(home, { recursive: true, force: true })
  })

  /** What the engine says and counts by itself. */
  async function alone({ prompt, max_tokens }: Asked): Promise<Counted> {
    const of = JSON.stringify([prompt, max_tokens])
    const before = known.get(of)
    if (before) return before
    const body = { model: embeddedModel, prompt, max_tokens, temperature: 0 }
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body) })
    const { choices, usage } = (await answer.json()) as { choices: { text: string }[]; usage: Omit<Counted, 'text'> }
    const counted = { text: choices[0]!.text, ...usage }
    known.set(of, counted)
    return counted
  }

  test(
    `${REQUESTS} requests, of which some are left: the text and the bill are its own`,
    async () => {
      const random = seededRandom()
      const gateway = await FakeGateway.start()
      const runner = await connectTo(
        { url: `${url}/v1` },
        { model: embeddedModel, dialect: 'openai', context_tokens: 1024 },
      )
      const node = await startNodeOver(runner, { gateway_url: gateway.url })
      const greedy = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 }
      const sampling = { ...greedy, frequency_penalty: 0, presence_penalty: 0, seed: '1' }
      const counts = { whole: 0, left: 0, overcharged: 0, unbilled: 0 }
      for (let i = 0; i < REQUESTS; i += 1) {
        const question = asked(random)
        const own = await alone(question)
        const request_id = crypto.randomUUID()
        const leaving = new AbortController()
        const parts = [{ special: '<s>' }, { text: question.prompt }]
        const is_left = random.chance(0.2)
        const answer = await generate(
          node.url,
          { request_id, prompts: [parts], max_tokens: question.max_tokens, sampling, stream: is_left },
          { signal: leaving.signal },
        )
        if (is_left) {
          await answer.body!.getReader().read()
          leaving.abort()
        } else expect(((await answer.json()) as { choices: { text: string }[] }).choices[0]!.text).toBe(own.text)
        const record = await gateway.record(request_id)
        const is_whole = record.outcome === 'stop' || record.outcome === 'length'
        counts[is_whole ? 'whole' : 'left'] += 1
        if (record.completion_tokens > own.completion_tokens) counts.overcharged += 1
        if (record.prompt_tokens + record.completion_tokens === 0) counts.unbilled += 1
        if (is_whole) {
          const { prompt_tokens, completion_tokens } = own
          expect(record).toMatchObject({ prompt_tokens, completion_tokens, usage_source: 'upstream' })
        }
      }
      console.log(counts)
      expect(counts).toMatchObject({ overcharged: 0, unbilled: 0 })
      expect(counts.whole).toBeGreaterThan(0)
    },
    60 * MINUTES,
  )
})
