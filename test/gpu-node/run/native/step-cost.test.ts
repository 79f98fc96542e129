// What a step is believed to take, and what follows for streams beside a long prompt: on a clock that the step's size drives.

import { describe, expect, test } from 'vitest'
import type { StepBatch, StepResult } from '../../../../gpu-node/run/native/engine.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { promptTokensBeside, StepCostEstimate, worthwhileChance } from '../../../../gpu-node/run/native/step-cost.ts'
import { expectedOutput, FakeEngine } from '../../../support/fake-engine.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { makeSequence } from '../../../support/sequences.ts'

test('the estimate comes to what steps of every size take, and follows when that changes', () => {
  const random = seededRandom()
  const estimate = new StepCostEstimate()
  const run = (step_ms: number, token_ms: number) => {
    // Each size comes again and again: of one that was not there for long little is known.
    for (let i = 0; i < 300; i++) {
      const tokens = [1, 8, 16, 512][i % 4]!
      estimate.observe(tokens, (step_ms + tokens * token_ms) * (0.95 + random.below(100) / 1000))
    }
    for (const tokens of [1, 16, 512]) {
      const believed = estimate.cost!.step_ms + tokens * estimate.cost!.token_ms
      expect(believed / (step_ms + tokens * token_ms)).toBeCloseTo(1, 0)
    }
  }
  run(16, 0.08)
  run(32, 0.1)
  run(0.4, 0.15)
})

test('one step that the machine held up changes little', () => {
  const estimate = new StepCostEstimate()
  for (let i = 0; i < 50; i++) for (const tokens of [1, 16, 256]) estimate.observe(tokens, 10 + tokens / 10)
  const before = estimate.cost!
  estimate.observe(16, 5000)
  expect(estimate.cost!.step_ms).toBeLessThan(before.step_ms * 2)
  expect(promptTokensBeside(16, estimate.cost!)).toBeGreaterThan(promptTokensBeside(16, before) / 3)
})

test('a prompt gets as much of a step as the streams, and at least a token', () => {
  expect(promptTokensBeside(16, { step_ms: 16, token_ms: 0.1 })).toBe(176)
  expect(promptTokensBeside(1, { step_ms: 0, token_ms: 5 })).toBe(1)
  expect(promptTokensBeside(1, { step_ms: 5, token_ms: 0 })).toBe(Number.POSITIVE_INFINITY)
})

test('a draft must be the likelier, the more a token costs', () => {
  expect(worthwhileChance(1, 1, { step_ms: 15, token_ms: 0 })).toBe(0)
  expect(worthwhileChance(1, 1, { step_ms: 3, token_ms: 1 })).toBe(0.25)
  expect(worthwhileChance(5, 4.5, { step_ms: 4, token_ms: 1 })).toBe(0.5)
  expect(worthwhileChance(16, 16, { step_ms: 0, token_ms: 1 })).toBe(1)
})

describe('a prompt of 8,192 tokens beside 16 streams', () => {
  const sum = (values: Int32Array) => values.reduce((a, b) => a + b, 0)
  /** Positions that the step's tokens look back on, all together. */
  const lookedBackOn = (batch: StepBatch) =>
    batch.starts.reduce((all, start, s) => all + batch.token_counts[s]! * (start + batch.token_counts[s]! / 2), 0)

  const machines: [string, (batch: StepBatch) => number][] = [
    ['one GPU, where the weights are read once a step', ({ tokens }) => Math.max(15.6, tokens.length * 0.085)],
    ['two cores, 1.1 billion parameters', ({ tokens }) => 65 + tokens.length * 12],
    ['two cores, a small model', ({ tokens }) => 0.4 + tokens.length * 0.15],
    ['one where long contexts are dear', (batch) => 1 + sum(batch.token_counts) * 0.1 + lookedBackOn(batch) * 1e-4],
  ]

  test.each(machines)('on %s leaves no gap above 3 times the median, and loses no byte', (_, timeOf) => {
    const random = seededRandom()
    const { gaps, outputs, sequences, options } = play(timeOf, random)
    for (const stream of gaps.slice(0, 16)) {
      const sorted = stream.toSorted((a, b) => a - b)
      expect(sorted.at(-1)! / sorted[sorted.length >> 1]!).toBeLessThan(3)
    }
    expect(outputs).toEqual(sequences.map((sequence) => expectedOutput(sequence, options)))
  })

  function play(timeOf: (batch: StepBatch) => number, random: Random) {
    const limits = { blocks: 1200, batch_tokens_max: 512, sequences_max: 32, waiting_max: 64 }
    const options = { blocks: limits.blocks, vocab_size: 500 }
    const engine = new FakeEngine(options)
    const scheduler = new Scheduler(limits)
    const estimate = new StepCostEstimate()
    const prompt = (length: number) => Array.from({ length }, () => 3 + random.below(490))
    const streams = Array.from({ length: 16 }, () => makeSequence({ prompt: prompt(100), output_tokens_max: 400 }))
    const long = makeSequence({ prompt: prompt(8192), output_tokens_max: 4 })
    const sequences = [...streams, long]
    const last_token_ms = new Map<Sequence, number>()
    const gaps: number[][] = sequences.map(() => [])
    let now_ms = 0
    for (const stream of streams) scheduler.submit(stream)
    for (;;) {
      if (long.state === 'new' && streams[0]!.output_tokens > 30) scheduler.submit(long)
      const step = scheduler.schedule(estimate.cost)
      if (!step) break
      const ms = timeOf(step.batch) * (0.95 + random.below(100) / 1000)
      now_ms += ms
      estimate.observe(step.batch.tokens.length, ms)
      const result = { tokens: engine.compute(step.batch) } as StepResult
      for (const { sequence } of scheduler.apply(step, result)) {
        const before_ms = last_token_ms.get(sequence)
        if (before_ms !== undefined) gaps[sequences.indexOf(sequence)]!.push(now_ms - before_ms)
        last_token_ms.set(sequence, now_ms)
      }
    }
    expect(long.state).toBe('finished')
    const outputs = sequences.map(({ tokens, prompt_tokens }) => tokens.slice(prompt_tokens))
    return { gaps, outputs, sequences, options }
  }
})

test('a prompt alone has the whole budget', () => {
  const scheduler = new Scheduler({ blocks: 200, batch_tokens_max: 512, sequences_max: 4, waiting_max: 4 })
  scheduler.submit(makeSequence({ prompt: Array.from({ length: 2000 }, (_, i) => i) }))
  expect(scheduler.schedule({ step_ms: 1, token_ms: 1 })!.batch.tokens).toHaveLength(512)
})
