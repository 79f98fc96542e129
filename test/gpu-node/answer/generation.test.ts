// What ends a choice and what is told of its tokens, over the node with a fake engine: streamed and whole, as a caller sees it.

import { describe, expect, test } from 'vitest'
import { type GenerateRequest, neutralSampling } from '../../../contract/internal/generation.ts'
import type { ChatLogprobs, CompletionLogprobs } from '../../../contract/public/openai.ts'
import { Generation } from '../../../gpu-node/answer/generation.ts'
import { expectedScores } from '../../support/fake-engine.ts'
import { type FakeNode, startFakeNode } from '../../support/fake-node.ts'
import { FakeRunner } from '../../support/fake-runner.ts'
import { framesOf, generate, generateRequest, textOf } from '../../support/generate.ts'

interface Choice {
  text?: string
  message?: { content: string }
  finish_reason: string
  logprobs: unknown
}

async function whole(node: FakeNode, changes: Partial<GenerateRequest>) {
  const body = (await (await generate(node.url, changes)).json()) as {
    choices: Choice[]
    usage: { completion_tokens: number }
  }
  const [choice] = body.choices
  return {
    text: choice!.text ?? choice!.message!.content,
    finish_reason: choice!.finish_reason,
    logprobs: choice!.logprobs,
    tokens: body.usage.completion_tokens,
  }
}

async function streamed(node: FakeNode, changes: Partial<GenerateRequest>) {
  const stream = await (await generate(node.url, { ...changes, stream: true })).text()
  const choices = framesOf(stream).flatMap((frame) => (frame === '[DONE]' ? [] : frame.choices)) as unknown as Choice[]
  const logprobs = choices.map((choice) => choice.logprobs).filter((value) => value !== null)
  return { text: textOf(stream), finish_reason: choices.at(-1)!.finish_reason, logprobs }
}

/** Both answers, which must say the same. */
async function both(node: FakeNode, changes: Partial<GenerateRequest>) {
  const answer = await whole(node, changes)
  const { text, finish_reason } = await streamed(node, changes)
  expect({ text, finish_reason }).toEqual({ text: answer.text, finish_reason: answer.finish_reason })
  return answer
}

test.each([
  ['upstream', 4],
  [undefined, 0],
])('what is said last of a prompt is recorded where another counts it (%s)', (usage_source, cached_tokens) => {
  const request = generateRequest({})
  const run = new FakeRunner({ step_ms: 1 }).prepare(request)
  let usage = { prompt_tokens: 5, cached_tokens: 0 }
  Object.defineProperties(run, {
    usage: { get: () => usage },
    prompt_tokens: { value: 5 },
    usage_source: { value: usage_source },
  })
  const generation = new Generation({ ticket: 't', attempt: 1, request, run })
  expect(generation.counts(0)).toMatchObject(usage)
  usage = { prompt_tokens: 5, cached_tokens: 4 }
  expect(generation.record('stop', 0)).toMatchObject({ prompt_tokens: 5, cached_tokens })
})

const ENDS = 1 // every draw is the model's own end
const PIECE = 300 // a piece with text

describe('a choice', () => {
  test('ends at a stop id, whose text it has only where that is included', async () => {
    const node = await startFakeNode()
    const free = await whole(node, { logit_bias: [[PIECE, 100]], max_tokens: 1 })
    const stop = { logit_bias: [[PIECE, 100]] as [number, number][], stop_token_ids: [PIECE] }
    expect(await both(node, stop)).toMatchObject({ text: '', finish_reason: 'stop', tokens: 1 })
    expect(await both(node, { ...stop, include_stop: true })).toMatchObject({ text: free.text, finish_reason: 'stop' })
  })

  test('has its stop string only where that is included', async () => {
    const node = await startFakeNode()
    const free = await whole(node, { max_tokens: 60 })
    const stop = [...free.text].slice(20, 23).join('')
    const start = free.text.indexOf(stop)
    expect((await both(node, { max_tokens: 60, stop: [stop] })).text).toBe(free.text.slice(0, start))
    const included = await both(node, { max_tokens: 60, stop: [stop], include_stop: true })
    expect(included).toMatchObject({ text: free.text.slice(0, start + stop.length), finish_reason: 'stop' })
  })

  test('is not ended by anything before min_tokens, and may be right after', async () => {
    const node = await startFakeNode({ engine: { eos_one_in: ENDS } })
    expect((await both(node, { min_tokens: 7 })).tokens).toBe(8) // the eighth is the end
    const plain = await startFakeNode()
    const free = await whole(plain, { max_tokens: 30 })
    const stopped = await both(plain, { max_tokens: 30, stop: [free.text.at(0)!], min_tokens: 10 })
    expect(stopped.tokens).toBeGreaterThan(10)
    expect(free.text.startsWith(stopped.text)).toBe(true)
  })

  test('goes on past the model’s own end where that is ignored', async () => {
    const node = await startFakeNode({ engine: { eos_one_in: 3 } })
    expect((await both(node, { max_tokens: 40 })).tokens).toBeLessThan(40)
    expect(await both(node, { max_tokens: 40, ignore_eos: true })).toMatchObject({
      tokens: 40,
      finish_reason: 'length',
    })
  })

  test('with echo begins with the prompt’s text', async () => {
    const node = await startFakeNode()
    const prompts = [[{ special: '<s>' }, { text: 'Once upon a time' }]]
    const plain = await whole(node, { prompts })
    expect((await both(node, { prompts, echo: true })).text).toBe(`Once upon a time${plain.text}`)
    const all = await (await generate(node.url, { prompts: [...prompts, ...prompts], n: 2, echo: true })).json()
    const texts = (all as { choices: { text: string }[] }).choices.map(({ text }) =>
      text.startsWith('Once upon a time'),
    )
    expect(texts).toEqual([true, true, true, true])
  })
})

describe('log-probabilities', () => {
  const merged = (parts: CompletionLogprobs[]): CompletionLogprobs => ({
    tokens: parts.flatMap((part) => part.tokens),
    token_logprobs: parts.flatMap((part) => part.token_logprobs),
    top_logprobs: parts.flatMap((part) => part.top_logprobs),
    text_offset: parts.flatMap((part) => part.text_offset),
  })

  // About half of the fake engine's ids are bytes: code points come whole, in parts and broken.
  const bytes = { engine: { eos_one_in: 40 } }

  test.each([{}, { ignore_eos: true }, { min_tokens: 20 }])(
    'of a completion (%o) lie where its text is',
    async (own) => {
      const node = await startFakeNode(bytes)
      for (const seed of ['1', '2', '3', '4', '5']) {
        const changes = { max_tokens: 80, logprobs: 3, sampling: { ...neutralSampling, seed }, ...own }
        const answer = await whole(node, changes)
        const lists = answer.logprobs as CompletionLogprobs
        expect(merged((await streamed(node, changes)).logprobs as CompletionLogprobs[])).toEqual(lists)
        const text = [...answer.text]
        for (const [i, token] of lists.tokens.entries()) {
          if (token.startsWith('bytes:') || token === '</s>') continue
          const here = text.slice(lists.text_offset[i], lists.text_offset[i + 1]).join('')
          expect(here.replace(/^\ufffd+|\ufffd+$/g, '')).toBe(token)
          expect(lists.top_logprobs[i]![token]).toBe(lists.token_logprobs[i])
          expect(Object.keys(lists.top_logprobs[i]!).length).toBeLessThanOrEqual(4)
        }
      }
    },
  )

  // The prompts of which this holds: whole words, and bytes that are no text, one of which the answer finishes.
  const prompts = {
    words: [{ special: '<s>' }, { text: 'Once upon a time, there was a little girl. '.repeat(6) }],
    ids: [{ tokens: [300, 301, 3 + 0xe4, 3 + 0xbd, 300, 3 + 0xff, 3 + 0xe4, 3 + 0xbd] }],
    one: [{ tokens: [300] }],
  }

  test.each(Object.keys(prompts) as (keyof typeof prompts)[])(
    'of a prompt that is echoed (%s) come first',
    async (kind) => {
      const node = await startFakeNode({ ...bytes, config: { batch_tokens_max: 37 } })
      const prompt = prompts[kind]
      const changes = { prompts: [prompt], logprobs: 2, max_tokens: 12, return_token_ids: true }
      const plain = await whole(node, changes)
      const answer = await both(node, { ...changes, echo: true })
      const echoed = answer.logprobs as CompletionLogprobs
      const [ids] = await promptIds(node, changes)
      expect(echoed.token_logprobs.slice(0, ids!.length)).toEqual([null, ...expectedScores(ids!)])
      expect(echoed.top_logprobs[0]).toBeNull()
      expect(echoed.tokens).toHaveLength(ids!.length + plain.tokens)
      expect(echoed.token_logprobs.slice(ids!.length)).toEqual((plain.logprobs as CompletionLogprobs).token_logprobs)
      const streamedParts = (await streamed(node, { ...changes, echo: true })).logprobs as CompletionLogprobs[]
      expect(merged(streamedParts)).toEqual(echoed)
      const text = [...answer.text]
      for (const [i, token] of echoed.tokens.entries()) {
        if (token.startsWith('bytes:') || token.startsWith('<')) continue
        expect(text.slice(echoed.text_offset[i], echoed.text_offset[i]! + [...token].length).join('')).toBe(token)
      }
    },
  )

  test('of a prompt alone are computed without an answer, and counted as a prompt', async () => {
    const node = await startFakeNode()
    const changes = { prompts: [prompts.words, prompts.ids], n: 2, echo: true, logprobs: 0, max_tokens: 0 }
    const answer = (await (await generate(node.url, changes)).json()) as {
      choices: { text: string; finish_reason: string; logprobs: CompletionLogprobs }[]
      usage: object
    }
    expect(answer.choices.map(({ finish_reason }) => finish_reason)).toEqual(new Array(4).fill('length'))
    const ids = await promptIds(node, changes)
    const lengths = ids.map(({ length }) => length)
    expect(answer.choices.map(({ logprobs }) => logprobs.tokens.length)).toEqual([
      lengths[0],
      lengths[0],
      lengths[1],
      lengths[1],
    ])
    expect(answer.choices[0]).toMatchObject({ text: 'Once upon a time, there was a little girl. '.repeat(6) })
    expect(answer.choices[2]!.text.endsWith('\ufffd')).toBe(true)
    expect(answer.usage).toMatchObject({ prompt_tokens: lengths[0]! + lengths[1]!, completion_tokens: 0 })
    expect((await both(node, { ...changes, logprobs: null })).text).toBe(answer.choices[0]!.text)
  })

  test('of a chat add up to its bytes', async () => {
    const node = await startFakeNode(bytes)
    for (const seed of ['1', '2', '3', '4', '5']) {
      const changes = { shape: 'chat' as const, max_tokens: 80, logprobs: 2, sampling: { ...neutralSampling, seed } }
      const answer = await whole(node, changes)
      const { content } = answer.logprobs as ChatLogprobs
      const parts = (await streamed(node, changes)).logprobs as ChatLogprobs[]
      expect(parts.flatMap((part) => part.content)).toEqual(content)
      expect(Buffer.from(content.flatMap((token) => token.bytes ?? [])).toString()).toBe(answer.text)
      expect(content.every((token) => token.top_logprobs.length === 2)).toBe(true)
    }
  })

  test('end with the text that a stop string leaves', async () => {
    const node = await startFakeNode()
    const free = await whole(node, { max_tokens: 60 })
    for (const at of [5, 11, 20, 33]) {
      const stop = [free.text.slice(at, at + 4)]
      const answer = await whole(node, { max_tokens: 60, stop, logprobs: 0 })
      const { tokens, text_offset } = answer.logprobs as CompletionLogprobs
      expect(text_offset.every((offset) => offset < [...answer.text].length)).toBe(true)
      const told = await streamed(node, { max_tokens: 60, stop, logprobs: 0 })
      expect(merged(told.logprobs as CompletionLogprobs[]).tokens).toEqual(tokens)
    }
  })

  test('are not computed for who does not ask, beside one who does', async () => {
    const node = await startFakeNode()
    const [without, with_them] = await Promise.all([whole(node, {}), whole(node, { logprobs: 5 })])
    expect(without.logprobs).toBeNull()
    expect(with_them.text).toBe(without.text)
    expect((with_them.logprobs as CompletionLogprobs).tokens.length).toBeGreaterThan(0)
  })
})

interface WithIds {
  prompt_token_ids?: number[]
  choices: { index: number; token_ids?: number[]; prompt_token_ids?: number[] }[]
  usage: { completion_tokens: number; prompt_tokens: number }
}

/** The tokens of each prompt, as the node tells them. */
async function promptIds(node: FakeNode, { prompts, n = 1 }: Partial<GenerateRequest>): Promise<number[][]> {
  const body = await bodyOf(node, { prompts: prompts!, n, max_tokens: 1, return_token_ids: true })
  return body.choices.filter(({ index }) => index % n === 0).map(({ prompt_token_ids }) => prompt_token_ids!)
}

async function bodyOf(node: FakeNode, changes: Partial<GenerateRequest>): Promise<WithIds> {
  return (await (await generate(node.url, changes)).json()) as WithIds
}

describe('token ids', () => {
  const prompts = [[{ special: '<s>' }, { text: 'Once upon a time' }]]
  const chunksOf = (stream: string) => framesOf(stream).filter((frame) => frame !== '[DONE]') as unknown as WithIds[]

  test.each(['completion', 'chat'] as const)(
    'of a %s are those that were counted, streamed and whole',
    async (shape) => {
      const node = await startFakeNode({ engine: { eos_one_in: 30 } })
      for (const own of [{}, { logprobs: 1 }, { stop: ['e'] }, { n: shape === 'chat' ? 1 : 2 }]) {
        const changes = { shape, prompts, max_tokens: 40, return_token_ids: true, ...own }
        const { choices, usage, prompt_token_ids } = await bodyOf(node, changes)
        const ids = choices.map(({ token_ids }) => token_ids!)
        expect(ids.flat()).toHaveLength(usage.completion_tokens)
        expect(prompt_token_ids ?? choices[0]!.prompt_token_ids).toHaveLength(usage.prompt_tokens)
        const chunks = chunksOf(await (await generate(node.url, { ...changes, stream: true })).text())
        const streamedIds = ids.map((_, index) =>
          chunks
            .flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
            .flatMap(({ token_ids }) => token_ids ?? []),
        )
        expect(streamedIds).toEqual(ids)
        const told = chunks.flatMap(
          (chunk) => chunk.prompt_token_ids ?? chunk.choices.flatMap((choice) => choice.prompt_token_ids ?? []),
        )
        expect(told).toHaveLength(usage.prompt_tokens * choices.length)
      }
    },
  )

  test('are told where they were asked for, and only there', async () => {
    const node = await startFakeNode()
    expect(await (await generate(node.url, { prompts })).text()).not.toContain('token_ids')
    expect(await (await generate(node.url, { prompts, stream: true })).text()).not.toContain('token_ids')
  })
})

describe('a prompt that is truncated', () => {
  const text = 'Once upon a time there was a little girl who had a red ball. '.repeat(200)
  const long = [[{ special: '<s>' }, { text }]]

  test('has its last tokens, and they are what is computed and counted', async () => {
    const node = await startFakeNode({ context_tokens: 256 })
    const [ids] = await promptIds(node, { prompts: [[{ special: '<s>' }, { text: text.slice(0, 61 * 8) }]] })
    const body = await bodyOf(node, { prompts: long, truncate_prompt: 50, max_tokens: 4, return_token_ids: true })
    expect(body.choices[0]!.prompt_token_ids).toEqual(ids!.slice(-50))
    expect(body.usage.prompt_tokens).toBe(50)
    const fitted = await bodyOf(node, { prompts: long, truncate_prompt: 'to_fit', max_tokens: 40 })
    expect(fitted.usage).toMatchObject({ prompt_tokens: 216, completion_tokens: 40 })
  })

  test('is refused where it still does not fit, and is whole where it is shorter', async () => {
    const node = await startFakeNode({ context_tokens: 256 })
    for (const truncate_prompt of [254, 257, 10_000]) {
      const response = await generate(node.url, { prompts: long, truncate_prompt, max_tokens: 4 })
      expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded' } })
    }
    const short = [[{ special: '<s>' }, { text: 'Once' }]]
    const { usage } = await bodyOf(node, { prompts: short, truncate_prompt: 100 })
    expect(usage.prompt_tokens).toBe((await bodyOf(node, { prompts: short })).usage.prompt_tokens)
  })
})
