// The log-probabilities of prompts: against an independent forward pass in float64, and the same bytes whatever happens around them.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Engine, loadEngine } from '../../../../gpu-node/run/native/engine.ts'
import { type Model, readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import type { TokenLogprobs } from '../../../../gpu-node/run/native/sampling.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence, SequenceOptions } from '../../../../gpu-node/run/native/sequence.ts'
import { testData } from '../../../support/data.ts'
import { draws } from '../../../support/draws.ts'
import { referenceLogprobs } from '../../../support/llama-reference.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { greedy, makeSequence } from '../../../support/sequences.ts'

const PROMPTS = draws('SCORED_PROMPTS', { few: 3, all: 60 })
const LIMITS = { blocks: 64, batch_tokens_max: 256, sequences_max: 16, waiting_max: 100 }

const KV_TIES = 0.03 // a key or a value in the middle of two halves may be rounded to the other; another position's token is whole units off

let model: Model
let engine: Engine
beforeAll(async () => {
  model = readModelFolder(testData('stories260K'))
  engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...LIMITS }, () => {})
})
afterAll(() => engine.close())

const scored = (prompt: number[], own: Partial<SequenceOptions> = {}) =>
  makeSequence({ prompt, output_tokens_max: 0, scores_prompt: true, sampling: { ...greedy, logprobs: 5 }, ...own })

/** What each sequence's prompt is scored with, and what was drawn behind it. */
async function scoresOf(scheduler: Scheduler, sequences: Sequence[], { cancel = [] as Sequence[] } = {}) {
  const found = new Map(
    sequences.map((sequence) => [sequence, { scores: [] as TokenLogprobs[], drawn: [] as number[] }]),
  )
  for (const sequence of [...sequences, ...cancel]) scheduler.submit(sequence)
  let is_first = true
  for (let step = scheduler.schedule(); step; step = scheduler.schedule()) {
    if (!is_first) for (const sequence of cancel.splice(0, 1)) scheduler.cancel(sequence)
    is_first = false
    for (const output of scheduler.apply(step, await engine.step(step.batch))) {
      const own = found.get(output.sequence)
      if ('scores' in output) own?.scores.push(...output.scores)
      else if ('token' in output) own?.drawn.push(output.token)
    }
  }
  return sequences.map((sequence) => found.get(sequence)!)
}

const drawPrompt = (random: Random, tokens = 2 + random.below(90)) =>
  Array.from({ length: tokens }, () => random.below(model.shape.vocab_size))

test('each token is as likely as in float64, and the five likeliest are', async () => {
  const random = seededRandom()
  const stories = model.tokenizer.encode('Once upon a time there was a little girl who had a red ball.')
  const prompts = [[1, ...stories], ...Array.from({ length: PROMPTS }, () => drawPrompt(random))]
  for (const prompt of prompts) {
    const [{ scores, drawn }] = (await scoresOf(new Scheduler(LIMITS), [scored(prompt)])) as [Scored]
    expect(drawn).toEqual([])
    expect(scores).toHaveLength(prompt.length - 1)
    const reference = referenceLogprobs(model, prompt)
    for (const [i, { logprob, top }] of scores.entries()) {
      expect(Math.abs(logprob - reference[i]![prompt[i + 1]!]!)).toBeLessThan(KV_TIES)
      const best = [...reference[i]!].toSorted((a, b) => b - a)
      for (const [k, candidate] of top.entries()) {
        expect(Math.abs(candidate.logprob - reference[i]![candidate.id]!)).toBeLessThan(KV_TIES)
        expect(Math.abs(candidate.logprob - best[k]!)).toBeLessThan(KV_TIES)
      }
    }
  }
})

type Scored = Awaited<ReturnType<typeof scoresOf>>[number]

describe('the scores of a prompt are the same bytes', () => {
  test('alone, in pieces, among others, after giving way, and where the cache has its beginning', async () => {
    const random = seededRandom()
    const beginning = drawPrompt(random, 40)
    const prompts = Array.from({ length: 4 }, () => [...beginning, ...drawPrompt(random)])
    const make = (prompt: number[], i: number) => scored(prompt, { output_tokens_max: i % 2 === 0 ? 0 : 12 })
    const alone: Scored[] = []
    for (const [i, prompt] of prompts.entries())
      alone.push(...(await scoresOf(new Scheduler(LIMITS), [make(prompt, i)])))
    let preemptions = 0
    for (let history = 0; history < 6; history++) {
      const blocks = history % 2 === 0 ? 14 : 64
      const limits = {
        ...LIMITS,
        blocks,
        batch_tokens_max: 18 + random.below(30),
        speculation: 'prompt-lookup' as const,
      }
      const scheduler = new Scheduler(limits)
      await scoresOf(scheduler, [makeSequence({ prompt: beginning, output_tokens_max: 3 })]) // warms the cache
      const neighbour = () =>
        makeSequence({ prompt: drawPrompt(random, 12), output_tokens_max: 80, stop_ids: new Set() })
      const before = Array.from({ length: 3 }, neighbour)
      const own = prompts.map(make)
      const cancel = [scored(drawPrompt(random), { output_tokens_max: 30 })]
      const found = await scoresOf(scheduler, [...before, ...own, neighbour()], { cancel })
      expect(found.slice(before.length, before.length + own.length), `history ${history}`).toEqual(alone)
      preemptions += scheduler.status.preemptions
    }
    expect(preemptions).toBeGreaterThan(0)
  })

  test('and what is drawn behind it is what is drawn behind a prompt that is not scored', async () => {
    const random = seededRandom()
    const prompt = drawPrompt(random)
    const own = { output_tokens_max: 20, sampling: { ...greedy, temperature: 1, seed: 7n, logprobs: 1 } }
    const [with_scores] = await scoresOf(new Scheduler(LIMITS), [scored(prompt, own)])
    const [without] = await scoresOf(new Scheduler(LIMITS), [scored(prompt, { ...own, scores_prompt: false })])
    expect(with_scores!.drawn).toEqual(without!.drawn)
    expect(without!.scores).toEqual([])
  })
})

test('a prompt that is scored takes no cached tokens, and leaves its own for the next', async () => {
  const prompt = drawPrompt(seededRandom(), 40)
  const scheduler = new Scheduler(LIMITS)
  const cachedBy = async (sequence: Sequence) => {
    await scoresOf(scheduler, [sequence])
    return sequence.cached_tokens
  }
  expect(await cachedBy(scored(prompt))).toBe(0)
  expect(await cachedBy(scored(prompt))).toBe(0)
  expect(await cachedBy(scored(prompt, { scores_prompt: false }))).toBe(32)
})

test('a copy waits until its prompt is scored, even where nobody computes the rest of it', () => {
  const scheduler = new Scheduler({ ...LIMITS, batch_tokens_max: 16 })
  const leader = scored(drawPrompt(seededRandom(), 20), { output_tokens_max: 4 })
  const copy = scored(leader.prompt, { output_tokens_max: 4, scores_prompt: false, leader })
  for (const sequence of [leader, copy]) scheduler.submit(sequence)
  const rows = {
    logprobs: new Float32Array(16),
    top_ids: new Int32Array(16 * 20),
    top_logprobs: new Float32Array(16 * 20),
  }
  scheduler.apply(scheduler.schedule()!, { tokens: new Int32Array(16), ...rows, logits: null, seconds: 0 })
  leader.paused = true
  expect(scheduler.schedule()).toBeNull()
  leader.paused = false
  expect(scheduler.schedule()!.parts.map(({ sequence }) => sequence)).toEqual([leader])
})
