// An engine behind an address that misbehaves: its client gets all of the answer or a clear error, the bill is never above what was
// computed or paid for, and nothing hangs. The way and the form of each request are drawn.
//   UPSTREAM_REQUESTS=2000 npm test -- test/gpu-node/run/upstream

import { describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../../../contract/internal/generation.ts'
import type { UsageRecord } from '../../../../contract/internal/sync.ts'
import { draws } from '../../../support/draws.ts'
import { FakeGateway } from '../../../support/fake-gateway.ts'
import { type FakeUpstream, wordsOf } from '../../../support/fake-upstream.ts'
import { framesOf, generate, textOf } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { type Behaviour, behaviours } from '../../../support/upstream-behaviours.ts'
import { charged, startUpstreamNode, type UpstreamNodeOptions } from '../../../support/upstream-node.ts'

interface Case {
  name: string
  words: number
  max_tokens: number
  shape: 'completion' | 'chat'
  stream: boolean
  leaves: boolean // its client, once it has seen something
}

function drawCase(name: string, random: Random): Case {
  const words = 4 + random.below(12)
  const max_tokens = random.chance(0.3) ? 4 + random.below(4) : 100
  const shape = random.pick(['completion', 'chat'] as const)
  return { name, words, max_tokens, shape, stream: random.chance(0.5), leaves: false }
}

function requestOf({ words, max_tokens, shape, stream }: Case): Partial<GenerateRequest> {
  const text = `please say ${words} of them`
  const prompts: GenerateRequest['prompts'] =
    shape === 'chat' ? [[{ chat: [{ role: 'user', text }], is_continued: false }]] : [[{ special: '<s>' }, { text }]]
  return { request_id: crypto.randomUUID(), prompts, shape, stream, max_tokens, include_usage: stream }
}

/** What a client has of an answer. */
async function readAnswer(response: Response, { stream, shape }: Case) {
  const body = await response.text()
  if (stream) {
    const frames = framesOf(body)
    const last = frames.at(-1)!
    const error = last === '[DONE]' ? null : (last.error?.code ?? 'no end')
    const usage = frames.findLast((frame) => frame !== '[DONE]' && frame.usage) as { usage: Usage } | undefined
    return { text: textOf(body), error, usage: usage?.usage ?? null, status: response.status }
  }
  const whole = JSON.parse(body) as Whole
  const [choice] = whole.choices ?? []
  const text = shape === 'chat' ? choice?.message?.content : choice?.text
  return { text: text ?? '', error: whole.error?.code ?? null, usage: whole.usage ?? null, status: response.status }
}

interface Usage {
  prompt_tokens: number
  completion_tokens: number
}
interface Whole {
  choices?: { text?: string; message?: { content: string } }[]
  error?: { code: string }
  usage?: Usage
}

interface Stage {
  gateway: FakeGateway
  upstream: FakeUpstream
  url: string
}

async function stage(options: UpstreamNodeOptions = {}): Promise<Stage> {
  const gateway = await FakeGateway.start()
  const { node, upstream } = await startUpstreamNode({ gateway_url: gateway.url, ...options })
  return { gateway, upstream, url: node.url }
}

/** A client that leaves pays for no more than was computed, and for what it was given. */
async function expectLeft({ gateway, upstream, url }: Stage, one: Case, behaviour: Behaviour): Promise<void> {
  upstream.behave = () => behaviour
  const request = requestOf({ ...one, stream: true })
  const leave = new AbortController()
  const response = await generate(url, request, { signal: leave.signal })
  await response.body!.getReader().read()
  leave.abort()
  const record = await gateway.record(request.request_id!)
  const computed = upstream.computed.get(request.request_id!) ?? { prompt_tokens: 0, completion_tokens: 0 }
  const bill = charged(record)
  expect(bill.prompt_tokens).toBeLessThanOrEqual(computed.prompt_tokens)
  expect(bill.completion_tokens).toBeLessThanOrEqual(Math.min(computed.completion_tokens, one.max_tokens))
  expect(bill.completion_tokens).toBeGreaterThanOrEqual(Math.min(record.delivered_tokens, record.completion_tokens))
  await eventually(async () => (upstream.open === 0 ? true : null))
}

async function expectWell({ gateway, upstream, url }: Stage, one: Case, behaviour: Behaviour): Promise<void> {
  upstream.behave = () => behaviour
  const request = requestOf(one)
  const answer = await readAnswer(await generate(url, request), one)
  const record = await gateway.record(request.request_id!)
  const computed = upstream.computed.get(request.request_id!)!
  const bill = charged(record)
  expect(bill.prompt_tokens).toBeLessThanOrEqual(computed.prompt_tokens)
  expect(record.cached_tokens).toBeLessThanOrEqual(computed.cached_tokens)
  expect(bill.completion_tokens).toBeLessThanOrEqual(Math.min(computed.completion_tokens, one.max_tokens))
  if (behaviour.expects === 'whole') {
    const said = wordsOf({ prompt: `say ${one.words}` }).slice(0, one.max_tokens)
    expect(answer).toMatchObject({ text: said.join(''), error: null, status: 200 })
    expect(answer.usage).toMatchObject(bill)
    if (behaviour.tells) expect(bill).toEqual(exactly(computed))
    else expectSomething(bill, record)
    if (behaviour.tells) expect(record.usage_source).toBe('upstream')
  } else {
    expect(answer.error).toBe(behaviour.expects)
    expect(record.outcome).toBe('error')
    const is_refusal = ['context_length_exceeded', 'unsupported_parameter'].includes(behaviour.expects)
    if (!one.stream) expect(answer.status).toBe(is_refusal ? 400 : 503)
  }
  await eventually(async () => (upstream.open === 0 ? true : null))
}

const exactly = ({ prompt_tokens, completion_tokens }: Usage) => ({ prompt_tokens, completion_tokens })

/** What nobody told is neither nothing nor everything. */
function expectSomething(bill: Usage, { usage_source }: UsageRecord): void {
  expect(bill.completion_tokens).toBeGreaterThan(0)
  expect(bill.prompt_tokens).toBeGreaterThan(0)
  expect(usage_source).toBeDefined()
}

const names = Object.keys(behaviours).filter((name) => !behaviours[name]!.outlasts)
const outlasting = Object.entries(behaviours).filter(([, { outlasts }]) => outlasts)

test('there are many ways to misbehave', () => {
  expect(names.length).toBeGreaterThan(60)
})

test.each(outlasting)('%s: its patience ends', async (name, behaviour) => {
  const here = await stage({ [behaviour.outlasts!]: 50 })
  await expectWell(here, drawCase(name, seededRandom()), behaviour)
})

describe('each way once', () => {
  test('and then whatever is drawn', { timeout: 600_000 }, async () => {
    const random = seededRandom()
    const here = await stage()
    const requests = draws('UPSTREAM_REQUESTS', { few: names.length + 8, all: 2000 })
    for (let i = 0; i < requests; i++) {
      const name = names[i] ?? random.pick(names)
      const one = { ...drawCase(name, random), leaves: i >= names.length && random.chance(0.25) }
      try {
        await (one.leaves ? expectLeft : expectWell)(here, one, behaviours[name]!)
      } catch (error) {
        throw new Error(`${JSON.stringify(one)}: ${(error as Error).message}`, { cause: error })
      }
    }
  })
})
