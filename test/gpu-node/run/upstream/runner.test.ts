// A node over an engine behind an address: what it asks, what it bills, where it goes, and what it tells nobody.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { GenerateRequest } from '../../../../contract/internal/generation.ts'
import { FolderVocabulary } from '../../../../gpu-node/run/native/vocabulary.ts'
import type { RunEvent } from '../../../../gpu-node/run/runner.ts'
import { testData } from '../../../support/data.ts'
import { FakeGateway } from '../../../support/fake-gateway.ts'
import { temporaryFolder } from '../../../support/fake-node.ts'
import { CACHED_TOKENS, FakeUpstream, type Talk, wordsOf } from '../../../support/fake-upstream.ts'
import { newGate } from '../../../support/gate.ts'
import { framesOf, generate, generateRequest, textOf } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'
import { type Behaviour, behaviours, endless, endlessUntold, FAKE_KEY } from '../../../support/upstream-behaviours.ts'
import {
  connectTo,
  launchUpstreamNode,
  startUpstreamNode,
  type UpstreamNodeOptions,
} from '../../../support/upstream-node.ts'

const PROMPT = (words: number): GenerateRequest['prompts'] => [[{ special: '<s>' }, { text: `say ${words}` }]]
const chat = (text: string, is_continued = false): GenerateRequest['prompts'] => [
  [{ chat: [{ role: 'user', text }], is_continued }],
]
const saying = (words: number, max = words) =>
  wordsOf({ prompt: `say ${words}` })
    .slice(0, max)
    .join('')

async function start(options: UpstreamNodeOptions = {}) {
  const gateway = await FakeGateway.start()
  const started = await startUpstreamNode({ gateway_url: gateway.url, ...options })
  const ask = (changes: Partial<GenerateRequest>, signal?: AbortSignal) =>
    generate(started.node.url, { max_tokens: 100, ...changes }, signal ? { signal } : {})
  return { gateway, ask, ...started }
}

const errorOf = async (response: Response) =>
  [response.status, ((await response.json()) as { error: { code: string; param: string | null } }).error] as const

/** The first words, and the rest when the test says so. */
function heldAfter(words: number): Behaviour & { goOn: () => void } {
  const gate = newGate()
  const answer = async (talk: Talk) => {
    talk.head()
    for (const word of talk.words.slice(0, words)) {
      talk.compute()
      await talk.event(talk.chunk(word, { usage: talk.usage }))
    }
    await gate.pass()
    for (const word of talk.words.slice(words)) {
      talk.compute()
      if (!(await talk.event(talk.chunk(word, { usage: talk.usage })))) return
    }
    await talk.event(talk.chunk('', { usage: talk.usage }, talk.finish))
    await talk.event('[DONE]')
    talk.response.end()
  }
  return { expects: 'whole', answer, goOn: gate.open }
}

test('an engine is asked for a stream with its count, and learns of no account', async () => {
  const { ask, upstream } = await start()
  const sampling = { temperature: 0.5, top_p: 0.9, top_k: 0, min_p: 0.1, repetition_penalty: 1.1 }
  const penalties = { frequency_penalty: 0, presence_penalty: 0.5 }
  const request_id = crypto.randomUUID()
  await (await ask({ request_id, prompts: PROMPT(3), sampling: { ...sampling, ...penalties, seed: '7' } })).text()
  const [{ path, body, headers }] = upstream.seen as [(typeof upstream.seen)[0]]
  expect(path).toBe('/v1/completions')
  expect(body).toMatchObject({
    ...{ model: 'test-model', prompt: 'say 3', stream: true, n: 1, max_tokens: 100, seed: 7 },
    ...{ ...sampling, top_k: -1, ...penalties },
    stream_options: { include_usage: true, continuous_usage_stats: true },
  })
  expect(headers).toMatchObject({ 'x-request-id': request_id, authorization: `Bearer ${FAKE_KEY}` })
  for (const name of ['user', 'cache_salt']) {
    expect(body[name]).toMatch(/^[0-9a-f]{32}$/)
    expect(body[name]).not.toContain('salt')
  }
  expect(body.user).not.toBe(body.cache_salt)
})

test('a node is a process without a model folder; killed in the middle, it bills what its engine had counted', async () => {
  const [gateway, upstream] = await Promise.all([FakeGateway.start(), FakeUpstream.start()])
  const data_dir = temporaryFolder()
  const launch = () => launchUpstreamNode(gateway, upstream, data_dir)
  const node = await launch()
  const held = heldAfter(4)
  upstream.behave = () => held
  const request_id = crypto.randomUUID()
  const response = await generate(node.url, { request_id, prompts: PROMPT(50), stream: true })
  const reader = response.body!.getReader()
  for (let text = ''; !text.includes('😀3'); ) text += new TextDecoder().decode((await reader.read()).value)
  node.kill('SIGKILL')
  await node.exited
  await eventually(async () => (upstream.open === 0 ? true : null))
  held.goOn()
  const again = await launch()
  onTestFinished(() => again.stop())
  expect(upstream.seen[0]!.headers.authorization).toBe(`Bearer ${FAKE_KEY}`)
  const record = await gateway.record(request_id)
  expect(record).toMatchObject({
    outcome: 'node_lost',
    prompt_tokens: 3,
    completion_tokens: 4,
    usage_source: 'upstream',
  })
})

test('a chat goes as it was said', async () => {
  const { ask, upstream } = await start()
  const prompts: GenerateRequest['prompts'] = [
    [
      {
        chat: [
          { role: 'system', text: 'be brief' },
          { role: 'user', text: 'say 4' },
          { role: 'assistant', text: 'well,' },
        ],
        is_continued: true,
      },
    ],
  ]
  const answer = await (await ask({ prompts, shape: 'chat' })).json()
  expect(answer).toMatchObject({ choices: [{ finish_reason: 'stop' }] })
  expect(upstream.seen[0]).toMatchObject({
    path: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'say 4' },
        { role: 'assistant', content: 'well,' },
      ],
      ...{ continue_final_message: true, add_generation_prompt: false },
    },
  })
})

test.each<[string, unknown, RegExp | undefined]>([
  ['is told with the node’s behind it', 'fp_44709d6fcb', /^fp_44709d6fcb-[0-9a-f]{6}$/],
  ['that is none is not', null, undefined],
  ['that is no name is not', 'fp\n"x"', undefined],
  ['that is too long is not', 'f'.repeat(101), undefined],
])('a fingerprint of the engine %s', async (_, system_fingerprint, told) => {
  const { ask, upstream } = await start()
  const answer = async (talk: Talk) => {
    talk.head()
    talk.compute()
    await talk.event(talk.chunk('w', { system_fingerprint }))
    await talk.event(talk.chunk('', { system_fingerprint, usage: talk.usage }, 'stop'))
    await talk.event('[DONE]')
    talk.response.end()
  }
  upstream.behave = () => ({ expects: 'whole', answer })
  const whole = (await (await ask({ prompts: PROMPT(1) })).json()) as { system_fingerprint?: string }
  if (told) expect(whole.system_fingerprint).toMatch(told)
  else expect(whole.system_fingerprint).toBeUndefined()
})

test('each choice is asked for by itself, and each prompt is billed once', async () => {
  const { ask, upstream, gateway } = await start()
  const request_id = crypto.randomUUID()
  const prompts = [...PROMPT(2), ...PROMPT(5)]
  const sampling = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 }
  const drawn = { ...sampling, frequency_penalty: 0, presence_penalty: 0, seed: '7' }
  const answer = await (await ask({ request_id, prompts, n: 3, sampling: drawn })).json()
  const texts = (answer as { choices: { text: string }[] }).choices.map(({ text }) => text)
  expect(texts).toEqual([2, 2, 2, 5, 5, 5].map((words) => saying(words)))
  expect(await gateway.record(request_id)).toMatchObject({
    ...{ prompt_tokens: 6, cached_tokens: 2 * CACHED_TOKENS, completion_tokens: 21, usage_source: 'upstream' },
  })
  expect(new Set(upstream.seen.map(({ body }) => body.seed)).size).toBe(6)
  expect(upstream.seen.every(({ body }) => body.n === 1)).toBe(true)
})

test('where one choice fails, the others are ended there, too', async () => {
  const { ask, upstream, gateway } = await start()
  const held = heldAfter(2)
  let asked = 0
  upstream.behave = () => (++asked === 2 ? behaviours['it goes away']! : held)
  const request_id = crypto.randomUUID()
  const response = await ask({ request_id, prompts: PROMPT(9), n: 3 })
  expect(response.status).toBe(503)
  await eventually(async () => (upstream.open === 0 ? true : null))
  held.goOn()
  expect(await gateway.record(request_id)).toMatchObject({ outcome: 'error', delivered_tokens: 0 })
})

test('a run that is stopped has no more events: what came meanwhile counts with its end', async () => {
  const upstream = await FakeUpstream.start()
  const runner = await connectTo(upstream)
  const [begun, gate] = [newGate(), newGate()]
  const events: RunEvent[] = []
  await runner.open({
    onStep: async (step) => {
      begun.open()
      await gate.pass()
      events.push(...step.events)
    },
    onFailed: (error) => {
      throw error
    },
  })
  onTestFinished(() => runner.close())
  const run = runner.prepare({ ...generateRequest({ prompts: PROMPT(9) }), request_id: crypto.randomUUID() }, 'salt')
  run.start()
  await begun.pass()
  const last = run.stop()
  gate.open()
  await eventually(async () => (upstream.open === 0 ? true : null))
  expect(last).toMatchObject([{ tokens: 1, finish: 'length' }])
  expect(events).toEqual([])
})

test.each([
  ['tells its count', endless, 'upstream'],
  ['tells nothing', endlessUntold, 'bounded'],
] as const)('an engine that never ends and %s is ended at what was paid for', async (_, behaviour, usage_source) => {
  const { ask, upstream, gateway } = await start()
  upstream.behave = () => behaviour
  const request_id = crypto.randomUUID()
  const answer = (await (await ask({ request_id, prompts: PROMPT(3), max_tokens: 9 })).json()) as {
    choices: { finish_reason: string }[]
  }
  expect(answer.choices[0]!.finish_reason).toBe('length')
  const record = await gateway.record(request_id)
  expect(record).toMatchObject({ completion_tokens: 9, usage_source })
  expect(record.completion_tokens).toBeLessThanOrEqual(upstream.computed.get(request_id)!.completion_tokens)
  await eventually(async () => (upstream.open === 0 ? true : null))
})

test('a client that leaves ends it there at once, and pays for what was computed at most', async () => {
  const { ask, upstream, gateway } = await start()
  const held = heldAfter(5)
  upstream.behave = () => held
  const request_id = crypto.randomUUID()
  const leave = new AbortController()
  const response = await ask({ request_id, prompts: PROMPT(50), stream: true }, leave.signal)
  const reader = response.body!.getReader()
  for (let text = ''; !text.includes('w4'); ) text += new TextDecoder().decode((await reader.read()).value)
  leave.abort()
  await eventually(async () => (upstream.open === 0 ? true : null))
  held.goOn()
  const record = await gateway.record(request_id)
  expect(record).toMatchObject({ outcome: 'client_gone', completion_tokens: 5, prompt_tokens: 3 })
  expect(record.delivered_tokens).toBeGreaterThan(3)
})

test('a request that is revoked ends there, too', async () => {
  const { ask, upstream, gateway } = await start()
  const held = heldAfter(2)
  upstream.behave = () => held
  const request_id = crypto.randomUUID()
  const response = ask({ request_id, prompts: PROMPT(50), stream: true })
  gateway.stop = [request_id]
  expect(framesOf(await (await response).text()).at(-1)).toMatchObject({ error: { code: 'request_revoked' } })
  await eventually(async () => (upstream.open === 0 ? true : null))
  held.goOn()
})

test.each([
  ['vllm', ['w5', 'never'], true],
  ['openai', ['w5', 'never'], false],
  ['openai', ['w5'], true],
] as const)('a stop ends it, of %s %j (told: %s)', async (dialect, stop, is_told) => {
  const { ask, upstream, gateway } = await start({ dialect })
  if (is_told) upstream.behave = () => stopping(dialect === 'vllm')
  const request_id = crypto.randomUUID()
  const answer = (await (await ask({ request_id, prompts: PROMPT(50), stop: [...stop] })).json()) as {
    choices: { text: string; finish_reason: string }[]
  }
  expect(answer.choices[0]).toMatchObject({ text: `${saying(50, 5)} `, finish_reason: 'stop' })
  expect(upstream.seen[0]!.body.stop).toEqual(is_told ? stop : undefined)
  const record = await gateway.record(request_id)
  if (is_told) expect(record).toMatchObject({ completion_tokens: 6, usage_source: 'upstream' })
  expect(record.completion_tokens).toBeLessThanOrEqual(upstream.computed.get(request_id)!.completion_tokens)
  await eventually(async () => (upstream.open === 0 ? true : null))
})

test('an engine that would never end is left at a stop that it was not told of', async () => {
  const { ask, upstream } = await start({ dialect: 'openai' })
  const answer = async (talk: Talk) => {
    talk.head()
    for (let said = 0; await talk.event(talk.chunk(` w${said}`)); said += 1) talk.compute()
  }
  upstream.behave = () => ({ expects: 'whole', answer })
  const asked = { request_id: crypto.randomUUID(), prompts: PROMPT(50), max_tokens: 500, stop: ['w5', 'never'] }
  const { choices } = (await (await ask(asked)).json()) as { choices: object[] }
  expect(choices).toMatchObject([{ text: ' w0 w1 w2 w3 w4 ', finish_reason: 'stop' }])
  await eventually(async () => (upstream.open === 0 ? true : null))
})

/** It ends at the word w5, and keeps it or not. */
function stopping(keeps: boolean): Behaviour {
  const answer = async (talk: Talk) => {
    talk.head()
    for (const word of talk.words.slice(0, 6)) {
      talk.compute()
      const is_stop = word === ' w5'
      await talk.event(talk.chunk(is_stop && !keeps ? ' ' : word, {}, is_stop ? 'stop' : null))
    }
    await talk.event({ choices: [], usage: talk.usage })
    await talk.event('[DONE]')
    talk.response.end()
  }
  return { expects: 'whole', answer }
}

test('what an engine has no field for is refused, by its name', async () => {
  const { ask, upstream } = await start({ dialect: 'openai' })
  const neutral = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 }
  const sampling = { ...neutral, frequency_penalty: 0, presence_penalty: 0, seed: '1' }
  const asked: [string, Partial<GenerateRequest>][] = [
    ['top_k', { sampling: { ...sampling, top_k: 4 } }],
    ['min_p', { sampling: { ...sampling, min_p: 0.2 } }],
    ['repetition_penalty', { sampling: { ...sampling, repetition_penalty: 1.2 } }],
    ['min_tokens', { min_tokens: 3 }],
    ['ignore_eos', { ignore_eos: true }],
    ['stop_token_ids', { stop_token_ids: [4] }],
    ['return_token_ids', { return_token_ids: true }],
    ['truncate_prompt_tokens', { truncate_prompt: 5 }],
    ['prompt', { prompts: [[{ tokens: [1, 2] }]] }],
  ]
  for (const [param, changes] of asked) {
    const [status, error] = await errorOf(await ask({ prompts: PROMPT(3), sampling, ...changes }))
    expect([status, error.code, error.param]).toEqual([400, 'unsupported', param])
  }
  const [status, error] = await errorOf(await ask({ prompts: chat('hello', true), shape: 'chat' }))
  expect([status, error.code]).toEqual([400, 'invalid_messages'])
  expect(upstream.seen).toEqual([])
})

test('an answer is held by the engine, in its own words', async () => {
  const { ask, upstream } = await start()
  const schema = { type: 'object' }
  const held: [GenerateRequest['constraint'], object][] = [
    [{ kind: 'json' }, { response_format: { type: 'json_object' } }],
    [
      { kind: 'json_schema', schema },
      { response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } } },
    ],
    [{ kind: 'regex', regex: 'a+' }, { structured_outputs: { regex: 'a+' } }],
    [{ kind: 'grammar', grammar: 'root ::= "a"' }, { structured_outputs: { grammar: 'root ::= "a"' } }],
  ]
  for (const [constraint, fields] of held) {
    await (await ask({ prompts: PROMPT(3), constraint: constraint! })).text()
    expect(upstream.seen.at(-1)!.body).toMatchObject(fields)
  }
  const tools = (calls: 'allowed' | 'required'): GenerateRequest['constraint'] & object => ({
    kind: 'tools',
    tools: [{ name: 'f', parameters: null }],
    calls,
    is_parallel: true,
  })
  await (await ask({ prompts: PROMPT(3), constraint: tools('allowed') })).text()
  expect(upstream.seen.at(-1)!.body).toMatchObject({ response_format: { type: 'structural_tag' } })
  const [status, error] = await errorOf(await ask({ prompts: PROMPT(3), constraint: tools('required') }))
  expect([status, error.code]).toEqual([400, 'invalid_tools'])
})

test('log-probabilities come as the engine tells them, and count', async () => {
  const { ask, upstream, gateway } = await start({ dialect: 'openai' })
  upstream.behave = () => ({
    expects: 'whole',
    answer: async (talk) => {
      talk.head()
      for (const word of talk.words) {
        talk.compute()
        const top_logprobs = [{ token: word, logprob: -0.5, bytes: null }]
        const logprobs = { content: [{ token: word, logprob: -0.5, bytes: null, top_logprobs }] }
        await talk.event({ choices: [{ index: 0, delta: { content: word }, logprobs }] })
      }
      await talk.event(talk.chunk('', {}, 'stop'))
      await talk.event('[DONE]')
      talk.response.end()
    },
  })
  const request_id = crypto.randomUUID()
  const answer = (await (await ask({ request_id, prompts: chat('say 5'), shape: 'chat', logprobs: 1 })).json()) as {
    choices: { logprobs: { content: { token: string; logprob: number; top_logprobs: object[] }[] } }[]
  }
  const { content } = answer.choices[0]!.logprobs
  expect(content.map(({ token }) => token).join('')).toBe(saying(5))
  expect(content[0]).toMatchObject({ logprob: -0.5, top_logprobs: [{ logprob: -0.5 }] })
  expect(await gateway.record(request_id)).toMatchObject({ completion_tokens: 5, usage_source: 'bounded' })
})

test('an engine that counts at the end alone is learned from: a piece is a token, until one is not', async () => {
  const { ask, upstream, gateway } = await start({ dialect: 'openai' })
  const counted = async (behaviour: Behaviour) => {
    upstream.behave = () => behaviour
    const request_id = crypto.randomUUID()
    await (await ask({ request_id, prompts: PROMPT(20) })).text()
    return gateway.record(request_id)
  }
  const { 'counts at the end alone': telling, 'no count at all': untelling, 'words in halves': halves } = behaviours
  expect((await counted(untelling!)).completion_tokens).toBeLessThan(20)
  expect(await counted(telling!)).toMatchObject({ completion_tokens: 20, usage_source: 'upstream' })
  expect(await counted(untelling!)).toMatchObject({ completion_tokens: 20 })
  expect(await counted(halves!)).toMatchObject({ completion_tokens: 20, usage_source: 'upstream' })
  expect((await counted(untelling!)).completion_tokens).toBeLessThan(20)
})

test('with the model’s tokenizer a prompt travels as ids, and what nobody tells is counted by it', async () => {
  const vocabulary = new FolderVocabulary(testData('stories260K'))
  const { ask, upstream, gateway } = await start({ vocabulary })
  const text = 'Once upon a time </s> there'
  const prompts: GenerateRequest['prompts'] = [[{ special: '<s>' }, { text }]]
  const request_id = crypto.randomUUID()
  upstream.behave = () => behaviours['no count at all']!
  const { choices } = (await (await ask({ request_id, prompts })).json()) as { choices: { text: string }[] }
  const ids = upstream.seen[0]!.body.prompt as number[]
  expect(ids).toEqual(vocabulary.encode(prompts as never, { max_tokens: 0 }, 4096)[0])
  expect(ids.filter((id) => id === 2)).toEqual([]) // what a caller spells ends nothing
  const completion_tokens = vocabulary.count(choices[0]!.text)
  expect(await gateway.record(request_id)).toMatchObject({
    ...{ prompt_tokens: ids.length, completion_tokens, usage_source: 'counted' },
  })
  const [status, error] = await errorOf(await ask({ prompts, max_tokens: 4090 }))
  expect([status, error.code]).toEqual([400, 'context_length_exceeded'])
})

test('what stands in a gap is asked for by the model’s own tokens, or refused by name; and nothing is judged', async () => {
  for (const vocabulary of [null, new FolderVocabulary(testData('stories260K'))]) {
    const { ask, upstream } = await start({ vocabulary })
    const infill = await ask({ prompts: [[{ infill: { before: 'a', after: 'b' } }]] })
    expect(await errorOf(infill)).toMatchObject([400, { code: 'no_infill', param: 'suffix' }])
    const judged = await ask({ prompts: [[{ judged: { query: 'a', answer: 'b' } }]] })
    expect(await errorOf(judged)).toMatchObject([400, { code: 'wrong_model' }])
    expect(upstream.seen).toEqual([])
  }
})

test('a key goes to its own address alone: no log, no client and no journal has it', async () => {
  const lines: string[] = []
  const sink = new Writable({ write: (line, _, done) => done(void lines.push(String(line))) })
  const { ask, upstream, node } = await start({ log: pino({ level: 'trace' }, sink) })
  for (const name of ['it wants another key', 'it fails at once', 'an event is an error', 'no answer']) {
    upstream.behave = () => behaviours[name]!
    expect(await (await ask({ prompts: PROMPT(9), stream: true })).text()).not.toContain(FAKE_KEY)
  }
  expect(lines.length).toBeGreaterThan(3)
  expect(lines.join()).not.toContain(FAKE_KEY)
  expect(lines.join()).not.toContain('say 9')
  expect(readFileSync(join(node.data_dir, 'journal.jsonl'), 'utf8')).not.toContain(FAKE_KEY)
})

describe('several addresses', addresses)

function addresses(): void {
  async function several(count: number, of: (i: number) => object = () => ({})) {
    const engines = await Promise.all(Array.from({ length: count }, () => FakeUpstream.start()))
    const file = join(temporaryFolder(), 'addresses.json')
    const write = (change: (i: number) => object) => {
      const addresses = engines.map(({ url }, i) => ({ url, ...of(i), ...change(i) }))
      writeFileSync(file, JSON.stringify({ addresses }))
    }
    write(() => ({}))
    return { engines, write, ...(await start({ upstream: file })) }
  }

  test('nothing that another engine may do better fails before its first byte; what one has begun stays there', async () => {
    const { engines, ask } = await several(2)
    const [bad, good] = engines as [FakeUpstream, FakeUpstream]
    for (const [name, behaviour] of Object.entries(behaviours)) {
      if (!behaviour.is_before_first) continue
      bad.behave = () => behaviour
      const before = good.seen.length
      const [first, second] = await Promise.all([1, 2].map(() => ask({ prompts: PROMPT(4), stream: true })))
      for (const response of [first!, second!]) expect(textOf(await response.text()), name).toBe(saying(4))
      expect(good.seen.length - before, name).toBe(2)
    }
    bad.behave = () => behaviours['it goes away']!
    good.behave = bad.behave
    const asked = bad.seen.length + good.seen.length
    const frames = framesOf(await (await ask({ prompts: PROMPT(9), stream: true })).text())
    expect(frames.at(-1)).toMatchObject({ error: { code: 'engine_failed' } })
    expect(bad.seen.length + good.seen.length - asked).toBe(1)
  })

  test('each has its share, and one that is drained gets nothing new', async () => {
    const { engines, ask, write, runner } = await several(3, (i) => ({ weight: i === 0 ? 2 : 1 }))
    const held = engines.map(() => heldAfter(1))
    engines.forEach((engine, i) => {
      engine.behave = () => held[i]!
    })
    const running = Promise.all(Array.from({ length: 8 }, () => ask({ prompts: PROMPT(4) }).then((one) => one.text())))
    await eventually(async () => (engines.reduce((sum, { open }) => sum + open, 0) === 8 ? true : null))
    expect(engines.map(({ seen }) => seen.length)).toEqual([4, 2, 2])
    write((i) => ({ drain: i !== 1 }))
    for (const { goOn } of held) goOn()
    await running
    // The file is read again before long.
    await eventually(async () => {
      const before = engines[0]!.seen.length + engines[2]!.seen.length
      await (await ask({ prompts: PROMPT(2) })).text()
      return engines[0]!.seen.length + engines[2]!.seen.length === before ? true : null
    })
    expect(runner.is_available).toBe(true)
  })

  test('without an engine a node takes nothing and says so, until one is there again', async () => {
    const { upstream, ask, node, runner } = await start()
    const { port } = upstream
    await upstream.stop()
    await eventually(async () => {
      const [status, { code }] = await errorOf(await ask({ prompts: PROMPT(2) }))
      expect(status).toBe(503)
      return code === 'overloaded' && !runner.is_available ? true : null
    })
    expect(await node.status()).toMatchObject({ state: 'draining' })
    await FakeUpstream.start(port)
    await eventually(async () => (runner.is_available ? true : null))
    expect((await ask({ prompts: PROMPT(2) })).status).toBe(200)
  })

  test('what an engine says of its load is what the node reports', async () => {
    const upstream = await FakeUpstream.start()
    upstream.metrics = [
      '# HELP vllm:num_requests_waiting Waiting.',
      'vllm:num_requests_running{engine="0",model_name="m"} 3.0',
      'vllm:num_requests_waiting{engine="0",model_name="m"} 4.0',
      'vllm:num_requests_waiting{engine="1",model_name="m"} 1.0',
      'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
    ].join('\n')
    const { node } = await start({ upstream: upstream.url })
    expect(await node.status()).toMatchObject({ waiting: 5, blocks_total: 1000, blocks_free: 750 })
  })

  test.each([
    ['it refuses the key', { status: 401, body: {} }],
    ['the status is 500', { status: 500, body: {} }],
    ['say it with --context-tokens', { status: 200, body: { data: [{ id: 'another', max_model_len: 5 }] } }],
    ['say it with --context-tokens', { status: 404, body: 'none' }],
  ])('a node begins with an engine, or says what is wrong: %s', async (message, models) => {
    const upstream = await FakeUpstream.start()
    upstream.models = models
    const context_tokens = message.startsWith('say') ? {} : { context_tokens: 100 }
    await expect(start({ upstream: upstream.url, ...context_tokens })).rejects.toThrow(message)
  })

  test.each([
    ['no JSON', '{'],
    ['no address', '{"addresses":[]}'],
    ['an address twice', '{"addresses":[{"url":"http://a/v1"},{"url":"http://a/v1"}]}'],
    ['a key in the address', '{"addresses":[{"url":"http://user:key@a/v1"}]}'],
    ['a key that is not there', '{"addresses":[{"url":"http://a/v1","key_env":"NOT_THERE"}]}'],
    ['no weight', '{"addresses":[{"url":"http://a/v1","weight":0}]}'],
    ['an unknown word', '{"addresses":[{"url":"http://a/v1","wieght":1}]}'],
  ])('a file of addresses with %s is refused', async (_, text) => {
    const file = join(temporaryFolder(), 'addresses.json')
    writeFileSync(file, text)
    await expect(start({ upstream: file })).rejects.toThrow()
  })
}
