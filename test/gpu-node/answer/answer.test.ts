// One table of events for all shapes, streamed and whole.

import { describe, expect, test } from 'vitest'
import { type Answer, answerTo } from '../../../gpu-node/answer/answer.ts'
import { Generation } from '../../../gpu-node/answer/generation.ts'
import type { Ending } from '../../../gpu-node/answer/public-shape.ts'
import type { Run } from '../../../gpu-node/run/runner.ts'
import { generateRequest } from '../../support/generate.ts'

const usage = {
  prompt_tokens: 2,
  completion_tokens: 3,
  total_tokens: 5,
  prompt_tokens_details: { cached_tokens: 0 },
}

const answer = (shape: 'completion' | 'chat', stream: boolean, include_usage = false) =>
  answerTo(
    generateRequest({ shape, stream, include_usage, response_id: 'id-1', model: 'm', created_unix_s: 9, n: 2 }),
    () => usage,
  )

const ended = { reason: 'stop', stop: null } as const
const full = { reason: 'length', stop: null } as const

function play(to: Answer): string {
  to.text(0, 'a\n')
  to.text(1, '写')
  to.finish(1, ended)
  to.text(0, 'b')
  to.finish(0, full)
  to.end(usage)
  return to.take()
}

const frames = (stream: string) =>
  stream
    .split('\n\n')
    .slice(0, -1)
    .map((frame) => frame.replace(/^data: /, ''))
    .map((data) => (data === '[DONE]' ? data : (JSON.parse(data) as unknown)))

describe('a completion', () => {
  const head = { id: 'id-1', object: 'text_completion', created: 9, model: 'm' }
  const choice = (index: number, text: string, finish_reason: string | null = null) => ({
    ...head,
    choices: [{ index, text, logprobs: null, finish_reason }],
  })

  test('streamed', () => {
    expect(frames(play(answer('completion', true)))).toEqual([
      choice(0, 'a\n'),
      choice(1, '写'),
      choice(1, '', 'stop'),
      choice(0, 'b'),
      choice(0, '', 'length'),
      '[DONE]',
    ])
  })

  test('whole', () => {
    expect(JSON.parse(play(answer('completion', false)))).toEqual({
      ...head,
      choices: [
        { index: 0, text: 'a\nb', logprobs: null, finish_reason: 'length' },
        { index: 1, text: '写', logprobs: null, finish_reason: 'stop' },
      ],
      usage,
    })
  })
})

describe('a chat completion', () => {
  const head = { id: 'id-1', created: 9, model: 'm' }
  const choice = (index: number, delta: object, finish_reason: string | null = null) => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, logprobs: null, finish_reason }],
  })

  test('streamed opens each choice with its role', () => {
    expect(frames(play(answer('chat', true)))).toEqual([
      choice(0, { role: 'assistant', content: '' }),
      choice(0, { content: 'a\n' }),
      choice(1, { role: 'assistant', content: '' }),
      choice(1, { content: '写' }),
      choice(1, {}, 'stop'),
      choice(0, { content: 'b' }),
      choice(0, {}, 'length'),
      '[DONE]',
    ])
  })

  test('streamed opens a choice without text as well', () => {
    const to = answer('chat', true)
    to.finish(0, ended)
    expect(frames(to.take())).toEqual([choice(0, { role: 'assistant', content: '' }), choice(0, {}, 'stop')])
  })

  test('whole', () => {
    const message = (content: string) => ({ role: 'assistant', content, refusal: null })
    expect(JSON.parse(play(answer('chat', false)))).toEqual({
      ...head,
      object: 'chat.completion',
      choices: [
        { index: 0, message: message('a\nb'), logprobs: null, finish_reason: 'length' },
        { index: 1, message: message('写'), logprobs: null, finish_reason: 'stop' },
      ],
      usage,
    })
  })
})

describe('a message', () => {
  const request = (stream: boolean) =>
    generateRequest({ shape: 'message', stream, request_id: 'r-1', response_id: 'msg_1', model: 'm' })
  const counts = {
    input_tokens: 3,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 4,
    output_tokens_details: null,
    server_tool_use: null,
  }
  const all = { cache_creation: null, inference_geo: null, service_tier: 'standard', speed: null }
  const nothing = { container: null, stop_details: null }
  const head = { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', diagnostics: null, ...nothing }
  const counted = { ...usage, prompt_tokens: 7, prompt_tokens_details: { cached_tokens: 4 } }
  const block = (text: string) => ({ type: 'text', text, citations: null })

  function playTo(to: Answer, finish: Ending): string {
    to.text(0, 'a\n')
    to.text(0, '写')
    to.finish(0, finish)
    to.end(counted)
    return to.take()
  }

  const endings: [Ending, string, string | null][] = [
    [ended, 'end_turn', null],
    [full, 'max_tokens', null],
    [{ reason: 'stop', stop: 'END' }, 'stop_sequence', 'END'],
  ]

  test.each(endings)('streamed, %o', (finish, stop_reason, stop_sequence) => {
    const before = { ...counted, completion_tokens: 0 }
    const stream = playTo(
      answerTo(request(true), () => before),
      finish,
    )
    const events = stream.split('\n\n').slice(0, -1)
    const named = events.map((event) => /^event: (\w+)\ndata: (.*)$/.exec(event)!)
    expect(named.map(([, name]) => name)).toEqual(named.map(([, , data]) => JSON.parse(data!).type))
    expect(named.map(([, , data]) => JSON.parse(data!))).toEqual([
      {
        type: 'message_start',
        message: {
          ...head,
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage: { ...counts, output_tokens: 0, ...all },
        },
      },
      { type: 'content_block_start', index: 0, content_block: block('') },
      { type: 'ping' },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a\n' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: '写' } },
      { type: 'content_block_stop', index: 0 },
      {
        type: 'message_delta',
        delta: { ...nothing, stop_reason, stop_sequence },
        usage: { ...counts, output_tokens: 3 },
      },
      { type: 'message_stop' },
    ])
  })

  test.each(endings)('whole, %o', (finish, stop_reason, stop_sequence) => {
    expect(
      JSON.parse(
        playTo(
          answerTo(request(false), () => counted),
          finish,
        ),
      ),
    ).toEqual({
      ...head,
      content: [block('a\n写')],
      stop_reason,
      stop_sequence,
      usage: { ...counts, output_tokens: 3, ...all },
    })
  })

  describe('that calls tools', () => {
    const tools = ['weather', 'now'].map((name) => ({ name, parameters: null }))
    const asking = (stream: boolean): Answer => {
      const constraint = { kind: 'tools' as const, tools, calls: 'allowed' as const, is_parallel: true }
      return answerTo({ ...request(stream), constraint }, () => counted)
    }
    const texts = ['I look.', '\n<tool_call>{"name": "weather", "argu', 'ments": {"place": "x', '"}}</tool_call>']
    const second = ['\n<tool_call>', '{"name": "now", "arguments": {}}</tool_call>']
    const call = (id: string, name: string, input: object) => ({
      ...{ type: 'tool_use', id, caller: { type: 'direct' }, name },
      input,
    })
    const id = expect.stringMatching(/^toolu_[0-9a-f]{24}$/)

    function tell(stream: boolean, said: readonly string[], finish: Ending): string {
      const to = asking(stream)
      for (const text of said) to.text(0, text)
      to.finish(0, finish)
      to.end(counted)
      return to.take()
    }
    type Content = Record<string, unknown>[]
    const whole = (said: readonly string[], finish: Ending) =>
      JSON.parse(tell(false, said, finish)) as { content: Content; stop_reason: string }
    const events = (said: readonly string[], finish: Ending) =>
      Array.from(tell(true, said, finish).matchAll(/^data: (.*)$/gm), ([, data]) => JSON.parse(data!) as never)

    test('has a block of each, and its stop reason', () => {
      const { content, stop_reason } = whole([...texts, ...second], ended)
      expect(content).toEqual([block('I look.'), call(id, 'weather', { place: 'x' }), call(id, 'now', {})])
      expect(content[1]!.id).not.toBe(content[2]!.id)
      expect(stop_reason).toBe('tool_use')
    })

    test('streams one block after the other, arguments in pieces', () => {
      const streamed = events([...texts, ...second], ended) as { type: string; index: number }[]
      const { content } = whole([...texts, ...second], ended)
      const start = (index: number, content_block: object) => ({ type: 'content_block_start', index, content_block })
      const delta = (index: number, delta: object) => ({ type: 'content_block_delta', index, delta })
      const stop = (index: number) => ({ type: 'content_block_stop', index })
      expect(streamed.slice(1, -1)).toEqual([
        start(0, block('')),
        { type: 'ping' },
        delta(0, { type: 'text_delta', text: 'I look.' }),
        stop(0),
        start(1, { ...content[1], input: {} }),
        delta(1, { type: 'input_json_delta', partial_json: '{"place": "x' }),
        delta(1, { type: 'input_json_delta', partial_json: '"}' }),
        stop(1),
        start(2, { ...content[2], input: {} }),
        delta(2, { type: 'input_json_delta', partial_json: '{}' }),
        stop(2),
        {
          type: 'message_delta',
          delta: expect.objectContaining({ stop_reason: 'tool_use' }),
          usage: expect.anything(),
        },
      ])
    })

    test('without a text has no block of it', () => {
      expect(whole(texts.slice(1), ended).content.map(({ type }) => type)).toEqual(['tool_use'])
      const types = (events(texts.slice(1), ended) as { content_block?: { type: string } }[]).flatMap(
        ({ content_block }) => content_block?.type ?? [],
      )
      expect(types).toEqual(['tool_use'])
    })

    test.each<[string, string[], Ending, string, object]>([
      ['at its limit', texts.slice(0, 3), full, 'max_tokens', {}],
      ['at a stop sequence', texts.slice(0, 3), { reason: 'stop', stop: 'x' }, 'stop_sequence', {}],
      ['before another', [...texts, '\n<tool_'], full, 'max_tokens', { place: 'x' }],
    ])('that is cut %s has what came whole of its input', (_, said, finish, stop_reason, input) => {
      expect(whole(said, finish)).toMatchObject({
        content: [block('I look.'), call(id, 'weather', input)],
        stop_reason,
      })
      const blocks = (events(said, finish) as { type: string }[]).filter(({ type }) => type === 'content_block_start')
      expect(blocks).toHaveLength(2)
    })
  })

  test('that fails says so in its own shape', () => {
    const to = answerTo(request(true), () => counted)
    to.error('error')
    const error = {
      type: 'api_error',
      message: expect.any(String),
      details: { error_code: 'engine_failed', param: null },
    }
    expect(to.take()).toMatch(/^event: error\ndata: /)
    to.error('error')
    expect(JSON.parse(to.take().split('\ndata: ')[1]!)).toEqual({ type: 'error', error, request_id: 'r-1' })
  })
})

describe('with log-probabilities', () => {
  const byte = { text: '\\xe5', bytes: [0xe5], logprob: -2 }
  const end = { text: '</s>', bytes: null, logprob: -4 }
  const a = { text: ' a', bytes: [32, 97], logprob: -1 }
  const first = { ...a, top: [a, byte], offset: 0 }
  const second = { ...byte, top: [end], offset: 2 }
  const request = (changes: object) => generateRequest({ response_id: 'id-1', logprobs: 2, ...changes })
  const whole = (shape: 'completion' | 'chat') => {
    const to = answerTo(request({ shape }), () => usage)
    to.text(0, ' a', [first])
    to.text(0, '写', [second])
    to.finish(0, ended)
    to.end(usage)
    return (JSON.parse(to.take()) as { choices: { logprobs: unknown }[] }).choices[0]!.logprobs
  }
  const streamed = (shape: 'completion' | 'chat') => {
    const to = answerTo(request({ shape, stream: true }), () => usage)
    to.text(0, '') // nothing is out yet
    to.text(0, ' a', [first])
    to.text(0, '', [second]) // tokens without text are told as well
    to.finish(0, ended)
    const chunks = frames(to.take()) as { choices: { logprobs: unknown }[] }[]
    return chunks.map((chunk) => chunk.choices[0]!.logprobs)
  }
  const lists = [
    { tokens: [' a'], token_logprobs: [-1], top_logprobs: [{ ' a': -1, 'bytes:\\xe5': -2 }], text_offset: [0] },
    {
      tokens: ['bytes:\\xe5'],
      token_logprobs: [-2],
      top_logprobs: [{ '</s>': -4, 'bytes:\\xe5': -2 }],
      text_offset: [2],
    },
  ]
  const chat = {
    a: { token: ' a', logprob: -1, bytes: [32, 97] },
    byte: { token: '\\xe5', logprob: -2, bytes: [0xe5] },
  }
  const content = [
    { ...chat.a, top_logprobs: [chat.a, chat.byte] },
    { ...chat.byte, top_logprobs: [{ token: '</s>', logprob: -4, bytes: null }] },
  ]

  test('a completion has four lists of one length', () => {
    const [one, two] = lists as [(typeof lists)[0], (typeof lists)[0]]
    expect(whole('completion')).toEqual({
      tokens: [...one.tokens, ...two.tokens],
      token_logprobs: [-1, -2],
      top_logprobs: [...one.top_logprobs, ...two.top_logprobs],
      text_offset: [0, 2],
    })
    expect(streamed('completion')).toEqual([...lists, null])
  })

  test('a chat completion has one list of tokens', () => {
    expect(whole('chat')).toEqual({ content, refusal: null })
    const chunks = content.map((token) => ({ content: [token], refusal: null }))
    expect(streamed('chat')).toEqual([null, ...chunks, null])
  })
})

test.each(['completion', 'chat'] as const)('a streamed %s with usage has null in every chunk but the last', (shape) => {
  const chunks = frames(play(answer(shape, true, true))) as { usage?: unknown; choices: unknown[] }[]
  expect(chunks.slice(0, -2).map((chunk) => chunk.usage)).toEqual(chunks.slice(0, -2).map(() => null))
  expect(chunks.at(-2)).toMatchObject({ choices: [], usage })
})

test.each(['completion', 'chat'] as const)(
  'a %s names its tier where the request names one, in every chunk',
  (shape) => {
    const told = (stream: boolean, service_tier?: 'flex') => {
      const given = { shape, stream, n: 2, ...(service_tier && { service_tier }) }
      const text = play(answerTo(generateRequest(given), () => usage))
      const all = stream ? frames(text).slice(0, -1) : [JSON.parse(text) as unknown]
      return new Set((all as { service_tier?: string }[]).map(({ service_tier }) => service_tier))
    }
    for (const stream of [true, false]) {
      expect(told(stream, 'flex')).toEqual(new Set(['flex']))
      expect(told(stream)).toEqual(new Set([undefined]))
    }
  },
)

test('with continuous usage every chunk has what was counted by then', () => {
  let completion_tokens = 0
  const counted = () => ({ ...usage, completion_tokens })
  const to = answerTo(generateRequest({ stream: true, include_usage: true, continuous_usage: true, n: 1 }), counted)
  for (const text of ['a', 'b']) {
    completion_tokens++
    to.text(0, text)
  }
  to.finish(0, ended)
  to.end(usage)
  const chunks = frames(to.take()).slice(0, -1) as { usage: typeof usage }[]
  expect(chunks.map((chunk) => chunk.usage.completion_tokens)).toEqual([1, 2, 2, 3])
})

test('each event is one line, whatever its text holds', () => {
  const to = answer('completion', true)
  to.text(0, 'a\r\n\n\u2028data: b')
  expect(to.take().split('\n')).toHaveLength(3)
})

test('bytes are handed out once', () => {
  const to = answer('completion', true)
  to.text(0, 'a')
  expect(to.has_bytes).toBe(true)
  to.take()
  expect([to.has_bytes, to.take()]).toEqual([false, ''])
})

test('a whole answer has no bytes before its end', () => {
  const to = answer('completion', false)
  to.text(0, 'a')
  to.finish(0, ended)
  expect(to.has_bytes).toBe(false)
  to.end(usage)
  expect(to.has_bytes).toBe(true)
})

test.each(['score', 'rerank'] as const)('of a %s that ran out of time no part is told, and it is free', (shape) => {
  const request = generateRequest({ shape, stream: false, ranked: { top_n: 1, texts: ['x'] } })
  const choice = { prompt_tokens: 1, output_tokens_max: 0, begun_at_ms: null }
  const unused = { start: () => {}, stop: () => [], setPaused: () => {} }
  const run: Run = { choices: [choice], prompt_tokens: 1, usage: { prompt_tokens: 0, cached_tokens: 0 }, ...unused }
  const generation = new Generation({ ticket: '', attempt: 1, request, run })
  const end = { run, choice: 0, text: '', tokens: 0, logprobs: [], finish: 'length' as const }
  generation.close('deadline', [end])
  expect(generation.outcome).toBe('error')
  expect(JSON.parse(generation.answer.take())).toMatchObject({ error: { code: 'engine_failed' } })
})
