// What ends a choice and what is told of its tokens, over the node with a fake engine: streamed and whole, as a caller sees it.

import { describe, expect, test } from 'vitest'
import { type GenerateRequest, neutralSampling } from '../../../contract/internal/generation.ts'
import type { ChatLogprobs, CompletionLogprobs } from '../../../contract/public/openai.ts'
import { type FakeNode, startFakeNode } from '../../support/fake-node.ts'
import { framesOf, generate, textOf } from '../../support/generate.ts'

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
