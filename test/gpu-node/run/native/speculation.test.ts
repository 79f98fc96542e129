// Prompt lookup: what it finds, what it saves, and that it changes nothing.

import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { lineTask, pythonFiles, renameTask, type Task, writeTask } from '../../../../bench/edit-task.ts'
import type { StepResult } from '../../../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import { Prediction } from '../../../../gpu-node/run/native/prediction.ts'
import { PromptLookup } from '../../../../gpu-node/run/native/prompt-lookup.ts'
import { unpackRows } from '../../../../gpu-node/run/native/row-table.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { StepCost } from '../../../../gpu-node/run/native/step-cost.ts'
import type { Tokenizer } from '../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { seededRandom } from '../../../support/random.ts'
import { makeSequence } from '../../../support/sequences.ts'

const models = join(import.meta.dirname, '../../../../models/ziya-coding-mini')

describe('a lookup', () => {
  const ANY = () => 0

  test('goes on as the same three tokens went on before, the most recent ones', () => {
    expect(new PromptLookup([1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 8, 1, 2, 3]).propose(3, ANY)).toEqual([6, 7, 8])
    expect(new PromptLookup([1, 2, 3, 4, 5, 9, 2, 3]).propose(3, ANY)).toEqual([])
    expect(new PromptLookup([1, 2]).propose(3, ANY)).toEqual([])
  })

  test('past the end goes on with its own beginning', () => {
    expect(new PromptLookup([7, 8, 9, 7, 8, 9]).propose(7, ANY)).toEqual([7, 8, 9, 7, 8, 9, 7])
  })

  test('after an edit goes on behind it, not at the first place that looks alike', () => {
    const source = [1, 2, 3, 4, 10, 11, 12, 50, 20, 21, 22, 23, 1, 2, 3, 4, 99, 20, 21, 60]
    const tokens = [...source, 1, 2, 3, 4, 10, 11]
    const lookup = new PromptLookup(tokens)
    lookup.propose(1, ANY)
    tokens.push(12, 70) // instead of 50
    expect(lookup.propose(2, ANY)).toEqual([])
    tokens.push(20)
    tokens.push(21)
    expect(lookup.propose(2, ANY)).toEqual([22, 23])
  })

  test('asks for more certainty than a copy has that is often wrong, and trusts one that was right for long', () => {
    const random = seededRandom()
    const noise: number[] = []
    const lookup = new PromptLookup(noise)
    for (let i = 0; i < 400; i++) {
      lookup.propose(7, ANY)
      noise.push(random.below(4))
    }
    expect(lookup.propose(7, () => 0.7)).toEqual([])
    const period = Array.from({ length: 60 }, (_, i) => i % 20)
    const steady = new PromptLookup(period)
    for (let i = 0; i < 200; i++) {
      steady.propose(7, ANY)
      period.push((60 + i) % 20)
    }
    expect(steady.propose(7, () => 0.9)).toHaveLength(7)
  })
})

describe('a prediction', () => {
  const ANY = () => 0
  const predicted = [1, 2, 3, 4, 5, 6, 7, 8, 9]

  test('is gone on with from its beginning, and counted by what the answer has of it', () => {
    const tokens = [70, 71]
    const prediction = new Prediction(predicted, tokens)
    expect(prediction.propose(3, ANY)).toEqual([1, 2, 3])
    tokens.push(1, 2, 3)
    expect(prediction.propose(9, ANY)).toEqual([4, 5, 6, 7, 8, 9])
    expect([prediction.accepted, prediction.rejected]).toEqual([3, 6])
  })

  test('is found again behind a change, near it by two tokens and elsewhere by three', () => {
    const tokens = [70]
    const prediction = new Prediction(predicted, tokens)
    tokens.push(1, 2, 60, 61)
    expect(prediction.propose(9, ANY)).toEqual([])
    tokens.push(4, 5)
    expect(prediction.propose(9, ANY)).toEqual([6, 7, 8, 9])
    const far = new Prediction(
      Array.from({ length: 200 }, (_, token) => token),
      tokens,
    )
    tokens.push(0, 1, 150, 151)
    expect(far.propose(9, ANY)).toEqual([])
    tokens.push(152)
    expect(far.propose(2, ANY)).toEqual([153, 154])
  })

  test('counts the same however often it is asked in between', () => {
    const random = seededRandom()
    for (let turn = 0; turn < 200; turn++) {
      const text = Array.from({ length: 40 }, () => random.below(4))
      const guess = text.flatMap((token) =>
        random.below(6) === 0 ? [random.below(4), token] : random.below(6) === 0 ? [] : [token],
      )
      const tokens = [9]
      const [often, once] = [new Prediction(guess, tokens), new Prediction(guess, tokens)]
      for (const token of text) {
        if (random.below(2) === 0) often.propose(4, ANY)
        tokens.push(token)
      }
      expect([often.accepted, often.rejected]).toEqual([once.accepted, once.rejected])
      expect(once.accepted).toBeLessThanOrEqual(tokens.length - 1)
    }
  })
})

describe('on real Python files, one sequence alone', () => {
  let tokenizer: Tokenizer
  let files: string[]
  beforeAll(() => {
    tokenizer = readModelFolder(models).tokenizer
    files = pythonFiles(join(models, 'train'), 4000)
    expect(files.length).toBeGreaterThan(10)
  })

  function run({ prompt, answer, prediction }: Predicted, speculation: 'off' | 'prompt-lookup', cost: StepCost) {
    const taught = tokenizer.encode(answer)
    const predicted = prediction === undefined ? undefined : tokenizer.encode(prediction)
    const options = { output_tokens_max: taught.length, stop_ids: new Set<number>(), predicted }
    const sequence = makeSequence({ prompt: [1, ...tokenizer.encode(prompt)], ...options })
    const limits = { blocks: 512, batch_tokens_max: 512, sequences_max: 64, waiting_max: 4 }
    const scheduler = new Scheduler({ ...limits, speculation })
    scheduler.submit(sequence)
    const spent = { steps: 0, ms: 0 }
    for (let step = scheduler.schedule(cost); step; step = scheduler.schedule(cost)) {
      spent.steps++
      spent.ms += cost.step_ms + cost.token_ms * step.batch.tokens.length
      const tokens = Int32Array.from(unpackRows(step.batch.rows), ({ counter }) => taught[counter]!)
      scheduler.apply(step, { tokens } as StepResult)
    }
    expect(sequence.tokens.slice(sequence.prompt_tokens), 'the text is the same').toEqual(taught)
    return spent
  }

  interface Predicted extends Task {
    prediction?: string
  }

  // The file that is to be changed is not in the prompt, but is what the answer is predicted to be.
  const predicting =
    (taskOf: (file: string) => Task) =>
    (file: string): Predicted => ({ prompt: 'Change it.', answer: taskOf(file).answer, prediction: file })

  // How many times less, over all files together.
  function saved(taskOf: (file: string) => Predicted, cost: StepCost) {
    const total = { off: { steps: 0, ms: 0 }, 'prompt-lookup': { steps: 0, ms: 0 } }
    for (const file of files) {
      for (const speculation of ['off', 'prompt-lookup'] as const) {
        const { steps, ms } = run(taskOf(file), speculation, cost)
        total[speculation].steps += steps
        total[speculation].ms += ms
      }
    }
    const { off, 'prompt-lookup': on } = total
    return { steps: off.steps / on.steps, time: off.ms / on.ms }
  }

  const where_memory_is_the_limit = { step_ms: 15.6, token_ms: 0.08 }
  const where_arithmetic_counts = { step_ms: 0.4, token_ms: 0.15 }
  const where_only_arithmetic_counts = { step_ms: 0, token_ms: 1 }

  test.each([
    ['a name changed', renameTask],
    ['lines changed', lineTask],
  ])('%s: less than half the steps', (_, taskOf) => {
    const memory = saved(taskOf, where_memory_is_the_limit)
    expect(memory.steps).toBeGreaterThan(3)
    expect(memory.time).toBeGreaterThan(3)
    const arithmetic = saved(taskOf, where_arithmetic_counts)
    expect(arithmetic.steps).toBeGreaterThan(2)
    expect(arithmetic.time).toBeGreaterThan(1.5)
  })

  test.each([
    ['a name changed', renameTask],
    ['lines changed', lineTask],
  ])('%s, and the file predicted: less than a third of the steps', (_, taskOf) => {
    expect(saved(predicting(taskOf), where_memory_is_the_limit).steps).toBeGreaterThan(3)
  })

  test('a prediction that is wrong loses no more than 3 % of the time', () => {
    const wrong = (file: string): Predicted => ({
      ...writeTask(file),
      prediction: files[(files.indexOf(file) + 1) % files.length]!,
    })
    for (const cost of [where_memory_is_the_limit, where_arithmetic_counts, where_only_arithmetic_counts])
      expect(saved(wrong, cost).time / saved(writeTask, cost).time).toBeGreaterThan(0.97)
  })

  test.each([renameTask, lineTask, writeTask])('never loses more than 3 % of the time', (taskOf) => {
    for (const cost of [where_memory_is_the_limit, where_arithmetic_counts, where_only_arithmetic_counts])
      expect(saved(taskOf, cost).time).toBeGreaterThan(0.97)
  })
})
