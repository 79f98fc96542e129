// The real engine on a real trained model, through the surface the scheduler uses: stories260K (test/data) against
// its published text and the logits of an independent fp32 forward pass.

import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../../../contract/internal/generation.ts'
import { type Engine, loadEngine } from '../../../../gpu-node/run/native/engine.ts'
import { type Model, readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import { prepareChoices } from '../../../../gpu-node/run/native/prepare.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { parseRequest } from '../../../../gpu-node/serve/door.ts'
import { testData } from '../../../support/data.ts'
import { generateRequest } from '../../../support/generate.ts'
import { seededRandom } from '../../../support/random.ts'
import { drawnOf, greedy, makeSequence, runToEnd } from '../../../support/sequences.ts'

const LIMITS = { blocks: 64, batch_tokens_max: 64, sequences_max: 16, waiting_max: 100 }
const golden = JSON.parse(readFileSync(testData('stories260K/golden.json'), 'utf8')) as {
  prompt_ids: number[]
  greedy_ids: number[]
  first_step_logits: number[]
}

let model: Model
let engine: Engine
beforeAll(async () => {
  model = readModelFolder(testData('stories260K'))
  engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...LIMITS }, () => {})
  return () => engine.close()
})

test('the greedy ids are the published ones', async () => {
  const output_tokens_max = golden.greedy_ids.length - golden.prompt_ids.length
  const sequence = makeSequence({ prompt: golden.prompt_ids, output_tokens_max })
  await runToEnd(engine, new Scheduler(LIMITS), [sequence])
  expect(sequence.tokens).toEqual(golden.greedy_ids)
})

test('the first logits are within what fp16 weights allow', async () => {
  const scheduler = new Scheduler(LIMITS)
  scheduler.submit(makeSequence({ prompt: golden.prompt_ids, output_tokens_max: 1 }))
  const { batch } = scheduler.schedule()!
  const { logits } = await engine.step({ ...batch, want_logits: true })
  expect(logits).toHaveLength(model.shape.vocab_size)
  const differences = golden.first_step_logits.map((logit, i) => Math.abs(logit - logits![i]!))
  expect(Math.max(...differences)).toBeLessThan(1e-2)
})

describe('a sampled row', () => {
  const prompt = golden.prompt_ids
  const drawn = async (own: Parameters<typeof makeSequence>[0]) => {
    const scheduler = new Scheduler(LIMITS)
    scheduler.submit(makeSequence(own))
    const outputs = []
    for (let step = scheduler.schedule(); step; step = scheduler.schedule()) {
      outputs.push(...drawnOf(scheduler.apply(step, await engine.step(step.batch))))
    }
    return outputs
  }
  const ids = (outputs: { token: number }[]) => outputs.map(({ token }) => token)

  test('follows a bias, and never draws what is banned', async () => {
    const biased = { ...greedy, bias: { ids: [400], values: [100] } }
    expect(ids(await drawn({ prompt, output_tokens_max: 3, sampling: biased }))).toEqual([400, 400, 400])
    const stop_ids = new Set([400])
    const held_off = await drawn({ prompt, output_tokens_max: 9, output_tokens_min: 4, stop_ids, sampling: biased })
    expect(held_off).toHaveLength(5)
    expect(ids(held_off).indexOf(400)).toBe(4)
  })

  test('has the log-probabilities of a softmax over the raw logits, the likeliest first', async () => {
    const sampling = { ...greedy, logprobs: 20 }
    const [first] = await drawn({ prompt, output_tokens_max: 1, sampling })
    const { logprob, top } = first!.logprobs!
    const scale = Math.log(golden.first_step_logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
    expect(top).toHaveLength(20)
    expect(top[0]).toEqual({ id: first!.token, logprob })
    for (const other of top) expect(other.logprob).toBeCloseTo(golden.first_step_logits[other.id]! - scale, 1)
    expect(top.map((other) => other.logprob)).toEqual(top.map((other) => other.logprob).toSorted((a, b) => b - a))
  })

  test('draws the same with log-probabilities as without', async () => {
    const sampling = { ...greedy, temperature: 1, seed: 3n }
    const options = { prompt, output_tokens_max: 20 }
    const plain = await drawn({ ...options, sampling })
    expect(ids(await drawn({ ...options, sampling: { ...sampling, logprobs: 5 } }))).toEqual(ids(plain))
  })
})

describe('the engine takes what the door lets in:', () => {
  const { MIN_VALUE } = Number
  const extremes: Partial<GenerateRequest['sampling']>[] = [
    ...[MIN_VALUE, 1e-40, 1e-7, 100].map((temperature) => ({ temperature })),
    ...[MIN_VALUE, 1e-46, 1e-40, 1 - 2 ** -53].map((top_p) => ({ top_p })),
    ...[1, 2 ** 31 - 1].map((top_k) => ({ top_k })),
    ...[MIN_VALUE, 1].map((min_p) => ({ min_p })),
    ...[MIN_VALUE, 1e-46, 1e-40, 100].map((repetition_penalty) => ({ repetition_penalty })),
    ...[-100, 100].flatMap((penalty) => [{ frequency_penalty: penalty }, { presence_penalty: penalty }]),
    { temperature: 100, top_p: MIN_VALUE, min_p: 1, repetition_penalty: MIN_VALUE, frequency_penalty: -100 },
    { temperature: MIN_VALUE, repetition_penalty: 100, frequency_penalty: 100, presence_penalty: 100, top_k: 1 },
  ]

  test.each(extremes)('%o', async (sampling) => {
    for (const temperature of [0, 1]) {
      for (const logit_bias of [[], [[5, 100] as [number, number], [6, -100] as [number, number]]]) {
        const all = { ...generateRequest().sampling, temperature, ...sampling }
        const request = parseRequest(
          JSON.stringify(generateRequest({ sampling: all, logit_bias, max_tokens: 6, n: 2 })),
        )
        const room = { model, grammar: null, sequence_tokens_max: model.shape.context_tokens, undrawable_ids: [] }
        const sequences = prepareChoices(request, 'salt', room).map(({ sequence }) => sequence)
        for (const ids of await runToEnd(engine, new Scheduler(LIMITS), sequences)) {
          expect(ids.length).toBeGreaterThan(0)
          for (const id of ids) expect(id).toBeLessThan(model.shape.vocab_size)
        }
      }
    }
  })
})

describe('the same sequence', () => {
  const random = seededRandom()
  const draw = () => {
    const prompt = [1, ...Array.from({ length: 1 + random.below(90) }, () => 3 + random.below(500))]
    const temperature = random.pick([0, 0.8])
    const repetition_penalty = random.pick([1, 1.2])
    const sampling = { ...greedy, temperature, repetition_penalty, top_p: 0.9, seed: BigInt(random.below(1e9)) }
    return () => makeSequence({ prompt, output_tokens_max: 24, sampling })
  }
  const drawn = Array.from({ length: 16 }, draw)
  let alone: number[][]
  beforeAll(async () => {
    alone = []
    for (const make of drawn) alone.push(...(await runToEnd(engine, new Scheduler(LIMITS), [make()])))
  })
  const together = (limits = LIMITS, scheduler = new Scheduler(limits)) =>
    runToEnd(
      engine,
      scheduler,
      drawn.map((make) => make()),
    )

  test('gives the same tokens beside random neighbours', async () => {
    expect(await together()).toEqual(alone)
  })

  test('gives the same tokens when its prompt comes in small chunks', async () => {
    expect(await together({ ...LIMITS, batch_tokens_max: 17 })).toEqual(alone)
  })

  test('gives the same tokens from a warm cache, and forked', async () => {
    const scheduler = new Scheduler(LIMITS)
    await together(LIMITS, scheduler)
    const forked = drawn.map((make) => {
      const leader = make()
      return [leader, new Sequence({ ...leader, prompt: leader.tokens, leader })]
    })
    const outputs = await runToEnd(engine, scheduler, forked.flat())
    expect(outputs).toEqual(alone.flatMap((output) => [output, output]))
    expect(scheduler.status.cache_hits).toBeGreaterThan(500)
  })

  test('gives the same tokens after preemptions', async () => {
    // From the fewest blocks that hold the longest sequence on: whatever was drawn, some of these are too few for all.
    let preemptions = 0
    for (const blocks of [8, 9, 10, 11, 12, 13, 14, 15]) {
      const scheduler = new Scheduler({ ...LIMITS, blocks })
      expect(await together(LIMITS, scheduler)).toEqual(alone)
      preemptions += scheduler.status.preemptions
    }
    expect(preemptions).toBeGreaterThan(0)
  })
})
