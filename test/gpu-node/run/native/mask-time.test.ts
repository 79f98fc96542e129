// Masks that take long hold up nobody else: they are made in a share of the time, and who waits for one waits alone.

import { describe, expect, test } from 'vitest'
import type { Reading } from '../../../../gpu-node/run/native/grammar/grammar.ts'
import { MaskTime } from '../../../../gpu-node/run/native/mask-time.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { FakeEngine } from '../../../support/fake-engine.ts'
import { makeSequence } from '../../../support/sequences.ts'

const ENGINE = { blocks: 64, vocab_size: 64 }
const LIMITS = { blocks: 64, batch_tokens_max: 64, sequences_max: 16, waiting_max: 16 }
const STEP_MS = 2

/** A reading of which every mask is new, and takes so long by this clock. */
function slowReading(clock: { now_ms: number }, mask_ms: number): Reading {
  const reading = {
    has_mask: false,
    makeMask() {
      clock.now_ms += mask_ms
      reading.has_mask = true
    },
    mask: () => {},
    mask_words: 0,
    append() {
      reading.has_mask = false
      return null
    },
    forced: () => [],
    cut: (draft: readonly number[]) => draft,
    masked: (draft: readonly number[]) => draft,
  }
  return reading as unknown as Reading
}

/** Runs so many steps. Returns how long each took, by the clock, and how many tokens each sequence has. */
function run(clock: { now_ms: number }, sequences: Sequence[], steps: number) {
  const scheduler = new Scheduler(LIMITS, new MaskTime(() => clock.now_ms))
  const engine = new FakeEngine(ENGINE)
  for (const sequence of sequences) scheduler.submit(sequence)
  const step_ms: number[] = []
  for (let i = 0; i < steps; i++) {
    const began = clock.now_ms
    const step = scheduler.schedule()!
    const tokens = engine.compute(step.batch)
    clock.now_ms += STEP_MS
    step_ms.push(clock.now_ms - began)
    scheduler.apply(step, { tokens, ...engine.logprobs(step.batch, tokens), logits: null, seconds: 0 })
  }
  return { step_ms, tokens: sequences.map(({ output_tokens }) => output_tokens) }
}

const sequence = (reading: Reading | null) =>
  makeSequence({ prompt: [1, 5], output_tokens_max: 1000, stop_ids: new Set(), reading })

describe('beside a stream', () => {
  test('eight with masks of 8 ms delay a step by no more than two, and all of them by a share of the time', () => {
    const clock = { now_ms: 0 }
    const slow = Array.from({ length: 8 }, () => sequence(slowReading(clock, 8)))
    const { step_ms, tokens } = run(clock, [sequence(null), ...slow], 400)
    expect(Math.max(...step_ms)).toBeLessThanOrEqual(2 * 8 + STEP_MS)
    expect(tokens[0]).toBe(400)
    expect(clock.now_ms).toBeLessThan(400 * STEP_MS * 1.6)
    const [least, most] = [Math.min(...tokens.slice(1)), Math.max(...tokens.slice(1))]
    expect(least).toBeGreaterThan(0)
    expect(most - least).toBeLessThanOrEqual(1) // those that went without for longest go first
  })

  test('those with masks at hand, or made in no time, go without none', () => {
    const clock = { now_ms: 0 }
    const { tokens } = run(
      clock,
      [sequence(null), sequence(slowReading(clock, 0)), sequence(slowReading(clock, 0.1))],
      100,
    )
    expect(tokens).toEqual([100, 100, 100])
  })
})

test('alone it goes on at once, however long its masks take', () => {
  const clock = { now_ms: 0 }
  expect(run(clock, [sequence(slowReading(clock, 50))], 20).tokens).toEqual([20])
})
