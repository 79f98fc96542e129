// The shape of responses, by drawn answers: the official client's own helper follows every stream, and ends with what the whole answer is.

import { ResponseStream } from 'openai/lib/responses/ResponseStream'
import type { Response } from 'openai/resources/responses/responses'
import { describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../../contract/internal/generation.ts'
import {
  type ResponseAsked,
  type ResponseBody,
  type ResponseEvent,
  responseEvent,
} from '../../../contract/public/responses.ts'
import { type Answer, answerTo } from '../../../gpu-node/answer/answer.ts'
import type { Ending } from '../../../gpu-node/answer/public-shape.ts'
import type { TokenLogprob } from '../../../gpu-node/run/runner.ts'
import { draws } from '../../support/draws.ts'
import { generateRequest } from '../../support/generate.ts'
import { type Random, randomText, seededRandom } from '../../support/random.ts'

const usage = {
  prompt_tokens: 7,
  completion_tokens: 3,
  total_tokens: 10,
  prompt_tokens_details: { cached_tokens: 4 },
}
const asked: ResponseAsked = {
  ...{ background: false, instructions: 'S', max_output_tokens: 9, max_tool_calls: null, metadata: { a: 'b' } },
  ...{ parallel_tool_calls: true, previous_response_id: null, reasoning: null, service_tier: 'default', store: true },
  ...{ temperature: 1, text: { format: { type: 'text' } }, tool_choice: 'auto', tools: [], top_logprobs: 0, top_p: 1 },
  ...{ truncation: 'disabled', user: null },
}
const NAMES = ['weather', 'now']
const constraint = {
  kind: 'tools' as const,
  tools: NAMES.map((name) => ({ name, parameters: null })),
  calls: 'allowed' as const,
  is_parallel: true,
}
const request = (stream: boolean, changes: Partial<GenerateRequest> = {}) =>
  generateRequest({
    shape: 'response',
    request_id: 'r-1',
    response_id: 'resp_1',
    model: 'm',
    stream,
    asked,
    constraint,
    ...changes,
  })

interface Said {
  pieces: { text: string; logprobs: TokenLogprob[] }[]
  ending: Ending | null // null where it is ended before it ends by itself
}

function drawSaid(random: Random): Said {
  const call = () =>
    `<tool_call>{"name": "${random.pick(NAMES)}", "arguments": ${JSON.stringify({ a: randomText(random) })}}</tool_call>`
  const calls = Array.from({ length: random.below(4) }, call)
  const said = [random.chance(0.6) ? randomText(random) : '', ...calls].filter((part) => part !== '').join('\n')
  const all = [...said]
  const reason = random.chance(0.7) ? 'stop' : 'length'
  const length = reason === 'length' || random.chance(0.2) ? random.below(all.length + 1) : all.length
  const pieces: Said['pieces'] = []
  for (let at = 0; at < length; ) {
    const size = Math.min(length - at, 1 + random.below(12))
    const text = all.slice(at, at + size).join('')
    const token = { text, bytes: [...Buffer.from(text)], logprob: -1 }
    pieces.push({ text, logprobs: [{ ...token, top: [token], offset: at }] })
    at += size
  }
  return { pieces, ending: random.chance(0.1) ? null : { reason, stop: null } }
}

function tell(to: Answer, { pieces, ending }: Said): string {
  for (const { text, logprobs } of pieces) to.text(0, text, logprobs)
  if (ending) to.finish(0, ending)
  to.end(usage)
  return to.take()
}

function eventsIn(stream: string): ResponseEvent[] {
  const events = Array.from(stream.matchAll(/^event: (\S+)\ndata: ([^\n]*)\n\n/gm), ([, name, data]) => {
    const event = responseEvent.parse(JSON.parse(data!))
    expect(event.type).toBe(name)
    return event
  })
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, place) => place))
  return events
}

/** What the client's helper makes of the events; it throws at the first that it cannot follow. */
function followed(events: ResponseEvent[]): Promise<Response> {
  const lines = events.map((event) => `${JSON.stringify(event)}\n`).join('')
  return ResponseStream.fromReadableStream(new Blob([lines]).stream()).finalResponse()
}

const lasting = (body: ResponseBody) => ({ ...body, completed_at: body.completed_at === null ? null : 0 })

test('a stream ends with what the whole answer is, however it came and wherever it was cut', async () => {
  const random = seededRandom()
  const kinds = new Set<string>()
  for (let i = 0; i < draws('RESPONSES', { few: 150, all: 20_000 }); i += 1) {
    const said = drawSaid(random)
    const logprobs = random.chance(0.3) ? 1 : null
    const whole = JSON.parse(
      tell(
        answerTo(request(false, { logprobs }), () => usage),
        said,
      ),
    ) as ResponseBody
    const events = eventsIn(
      tell(
        answerTo(request(true, { logprobs }), () => usage),
        said,
      ),
    )
    const { type, response } = events.at(-1) as { type: string; response: ResponseBody }
    expect(type).toBe(`response.${whole.status}`)
    if (said.ending) expect(lasting(response)).toEqual(lasting(whole))
    const { output_text, ...helped } = await followed(events)
    expect(helped).toMatchObject({ id: whole.id, status: response.status, usage: response.usage })
    expect(helped.output).toMatchObject(response.output)
    const texts = response.output.flatMap((item) => (item.type === 'message' ? [item.content[0]!.text] : []))
    expect(output_text).toBe(texts.join(''))
    for (const { status, type } of response.output) kinds.add(`${type} ${status} in ${response.status}`)
  }
  expect(kinds.size).toBeGreaterThanOrEqual(5)
})

test('a token behind text that was held back, and let go with it, is no text where it begins a call', async () => {
  const pieces = ['a\n', '\n<tool_call', '>{"name": "now", "arguments": {'].map((text, i) => {
    const token = { text, bytes: [...Buffer.from(text)], logprob: -1 }
    return { text, logprobs: [{ ...token, top: [token], offset: [0, 2, 13][i]! }] }
  })
  const said: Said = { pieces, ending: { reason: 'length', stop: null } }
  const told = (stream: boolean) =>
    tell(
      answerTo(request(stream, { logprobs: 1 }), () => usage),
      said,
    )
  const whole = JSON.parse(told(false)) as ResponseBody
  expect(eventsIn(told(true)).at(-1)).toMatchObject({ response: lasting(whole) })
  expect(JSON.stringify(whole.output[0])).not.toContain('tool_call')
})

test('a stream in the background has the same bytes, whichever steps made its text', () => {
  const random = seededRandom()
  const inSteps = ({ pieces, ending }: Said): Said => {
    const steps: Said['pieces'] = []
    for (const { text, logprobs } of pieces) {
      const last = random.chance(0.5) ? steps.pop() : undefined
      steps.push({ text: (last?.text ?? '') + text, logprobs: [...(last?.logprobs ?? []), ...logprobs] })
    }
    return { pieces: steps, ending }
  }
  for (let i = 0; i < 100; i += 1) {
    const logprobs = random.chance(0.3) ? 1 : null
    const kind = request(true, { logprobs, asked: { ...asked, background: true } })
    const said = drawSaid(random)
    const told = (how: Said) =>
      tell(
        answerTo(kind, () => usage),
        how,
      ).replaceAll(/"completed_at":\d+/g, '')
    expect(told(inSteps(said))).toBe(told(inSteps(said)))
  }
})

describe('a response', () => {
  const ended = { reason: 'stop', stop: null } as const
  const pieces = (...texts: string[]) => texts.map((text) => ({ text, logprobs: [] }))
  const whole = (said: Said) =>
    JSON.parse(
      tell(
        answerTo(request(false), () => usage),
        said,
      ),
    ) as ResponseBody

  test('has a message and then calls, each with an id of its own, the same when it is asked again', () => {
    const said = {
      pieces: pieces('I look.', '\n<tool_call>{"name": "now", "arguments": {}}</tool_call>'),
      ending: ended,
    }
    const response = whole(said)
    expect(response.output).toMatchObject([
      { type: 'message', id: expect.stringMatching(/^msg_\w+$/), status: 'completed' },
      {
        type: 'function_call',
        id: expect.stringMatching(/^fc_\w+_0$/),
        name: 'now',
        arguments: '{}',
        status: 'completed',
      },
    ])
    expect(whole(said).output).toEqual(response.output)
    expect(response).toMatchObject({
      ...asked,
      usage: {
        ...{ input_tokens: 7, input_tokens_details: { cached_tokens: 4, cache_write_tokens: 0 } },
        ...{ output_tokens: 3, output_tokens_details: { reasoning_tokens: 0 }, total_tokens: 10 },
      },
    })
  })

  test('without a word has an empty message', async () => {
    expect(whole({ pieces: [], ending: ended }).output).toMatchObject([{ content: [{ text: '' }] }])
    expect(
      (
        await followed(
          eventsIn(
            tell(
              answerTo(request(true), () => usage),
              { pieces: [], ending: ended },
            ),
          ),
        )
      ).output_text,
    ).toBe('')
  })

  test.each([0, 1, 3])('that fails after %s pieces ends so, in its own shape', async (count) => {
    const to = answerTo(request(true), () => usage)
    for (const { text } of pieces('a', 'b', '\n<tool_call>{"name": "now", "arguments": {').slice(0, count))
      to.text(0, text)
    to.error('error')
    const events = eventsIn(to.take())
    expect(events.at(-1)).toMatchObject({
      type: 'response.failed',
      response: {
        status: 'failed',
        store: false,
        error: { code: 'server_error' },
        output: { length: [0, 1, 0, 2][count] },
      },
    })
    expect(await followed(events)).toMatchObject({ status: 'failed' })
    const unstreamed = answerTo(request(false), () => usage)
    unstreamed.error('revoked')
    expect(JSON.parse(unstreamed.take())).toMatchObject({ error: { code: 'request_revoked' } })
  })
})
