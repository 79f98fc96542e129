// Verified answers as a node serves them: one record for all that was generated, whole or streamed, and whoever leaves is charged for
// what ran. Judges do as they are told; the candidates are the words of the runner below.

import { expect, test } from 'vitest'
import type { GenerateRequest, Verification } from '../../../../contract/internal/generation.ts'
import { chatCompletionChunk, completion } from '../../../../contract/public/openai.ts'
import type { Verdict } from '../../../../gpu-node/run/verified/judge-messages.ts'
import { VerifyingRunner } from '../../../../gpu-node/run/verified/runner.ts'
import { FakeGateway } from '../../../support/fake-gateway.ts'
import { startNodeOver } from '../../../support/fake-node.ts'
import { FakeRunner, textOfChoice } from '../../../support/fake-runner.ts'
import { framesOf, generate, textOf } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'

const verify: Verification = {
  ...{ language: 'python', tests: 'assert f()', candidates: 3, attempts: 2, cpu_s: 5 },
  around: { before: '', after: '' },
  repair: [{ text: 'again: \0answer\0 \0failure\0' }],
  ...{ repair_tokens_max: 1000, repair_answer_bytes_max: 1000 },
}

const asked = (changes: Partial<GenerateRequest> = {}): Partial<GenerateRequest> => ({
  ...{ request_id: crypto.randomUUID(), max_tokens: 4, n: 1, verify },
  ...changes,
})

async function start(judge: (candidate: string) => Promise<Verdict>) {
  const gateway = await FakeGateway.start()
  const inner = new FakeRunner({ step_ms: 1 })
  const judges = {
    languages: ['python' as const],
    judge: ({ candidate }: { candidate: string }) => judge(candidate),
    close: () => {},
  }
  const runner = new VerifyingRunner({ inner, judges, onFault: () => {} })
  const node = await startNodeOver(runner, { gateway_url: gateway.url, keep_alive_ms: 20 })
  return { gateway, node, inner }
}

const passing = (word: string) => async (candidate: string) =>
  candidate.includes(word) ? { passed: true, failure: null } : { passed: false, failure: 'assert f()' }
const never = () => new Promise<Verdict>(() => {})

test('an answer tells what was tried, and one record has the tokens of all of it', async () => {
  const { gateway, node } = await start(passing(' b'))
  const request = asked()
  const response = await generate(node.url, request)
  const answer = completion.parse(await response.json())
  expect(answer.choices).toMatchObject([{ index: 0, text: textOfChoice(1, 4), finish_reason: 'length' }])
  expect(answer.verification).toMatchObject({ passed: true, chosen: 1, attempts: 1, language: 'python' })
  const record = await gateway.record(request.request_id!)
  const { passed, candidates, attempts } = record.verification!
  expect({ passed, candidates, attempts }).toEqual({ passed: true, candidates: 3, attempts: 1 })
  const tokens = answer.verification!.candidates.reduce((sum, { completion_tokens }) => sum + completion_tokens, 0)
  expect([record.completion_tokens, record.delivered_tokens, answer.usage!.completion_tokens]).toEqual([
    tokens,
    tokens,
    tokens,
  ])
})

test('a stream says comments until the answer is chosen, then all of it, and tells what was tried with its end', async () => {
  let decide = (_: Verdict) => {}
  const verdict = new Promise<Verdict>((resolve) => {
    decide = resolve
  })
  const { node } = await start(() => verdict)
  const response = await generate(node.url, asked({ shape: 'chat', stream: true, include_usage: true }))
  let text = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    if (text.split(': keep-alive').length > 3) decide({ passed: true, failure: null })
    else expect(textOf(text)).toBe('')
  }
  expect(textOf(text)).toBe(textOfChoice(0, 4))
  const chunks = framesOf(text).flatMap((frame) => (frame === '[DONE]' ? [] : chatCompletionChunk.parse(frame)))
  const told = chunks.filter(({ verification }) => verification)
  expect(told).toMatchObject([{ choices: [{ finish_reason: 'length' }], verification: { passed: true } }])
  expect(chunks.at(-1)!.usage!.completion_tokens).toBe(12)
})

test('where none passes the answer is there all the same, and both attempts are billed as one', async () => {
  const { gateway, node } = await start(passing('no such word'))
  const request = asked()
  const answer = completion.parse(await (await generate(node.url, request)).json())
  expect(answer.verification).toMatchObject({ passed: false, attempts: 2 })
  expect(answer.verification!.candidates).toHaveLength(6)
  const record = await gateway.record(request.request_id!)
  expect(record.completion_tokens).toBe(2 * 3 * 4)
  expect(record.prompt_tokens).toBe(answer.usage!.prompt_tokens)
  expect(record.prompt_tokens).toBeGreaterThan(5 + 5) // of both attempts
})

test.each([true, false])(
  'a client who leaves (streaming: %s) is charged for what ran, and all of it ends',
  async (stream) => {
    const { gateway, node, inner } = await start(never)
    const request = asked({ stream })
    const leaving = new AbortController()
    const answer = generate(node.url, request, { signal: leaving.signal }).then((response) => response.text())
    answer.catch(() => {})
    await eventually(async () => (inner.steps.length >= 4 ? true : null))
    leaving.abort()
    const record = await gateway.record(request.request_id!)
    expect(record).toMatchObject({ outcome: 'client_gone', verification: { passed: false } })
    expect(record.completion_tokens).toBeGreaterThan(0)
    expect(record.delivered_tokens).toBe(record.completion_tokens)
    expect(inner.load.running).toBe(0)
  },
)

test('at its deadline the answer is what there is, and nothing passed', async () => {
  const { gateway, node } = await start(never)
  const request = asked()
  const response = await generate(node.url, request, { ticket: { duration_ms_max: 300 } })
  expect(completion.parse(await response.json()).verification).toMatchObject({ passed: false })
  expect(await gateway.record(request.request_id!)).toMatchObject({ outcome: 'deadline' })
})

test('a node that verifies nothing, or not in that language, refuses by name', async () => {
  const plain = await startNodeOver(new FakeRunner({ step_ms: 1 }))
  const { node } = await start(never)
  for (const [url, language] of [
    [plain.url, 'python'],
    [node.url, 'go'],
  ] as const) {
    const { error } = (await (await generate(url, asked({ verify: { ...verify, language } }))).json()) as never
    expect(error).toMatchObject({ code: 'unsupported', param: 'verify.language' })
  }
})

test('a request that its ticket does not pay for in full does not begin', async () => {
  const { node } = await start(never)
  const response = await generate(node.url, asked(), { ticket: { request_output_tokens_max: 2 * 3 * 4 - 1 } })
  expect(await response.json()).toMatchObject({ error: { code: 'ceiling_exceeded' } })
})
