import { expect, test } from 'vitest'
import type { Client } from '../../gpu-node/client.ts'
import { Generation } from '../../gpu-node/generation.ts'
import type { Journal } from '../../gpu-node/journal.ts'
import { Metrics } from '../../gpu-node/metrics.ts'
import { Scheduler } from '../../gpu-node/scheduler.ts'
import { StepLoop } from '../../gpu-node/step-loop.ts'
import type { Detokenizer } from '../../gpu-node/tokenizer/detokenizer.ts'
import { FakeEngine } from '../support/fake-engine.ts'
import { generateRequest } from '../support/generate.ts'
import { makeSequence } from '../support/sequences.ts'

const silent = { push: () => 'x', end: () => '' } as unknown as Detokenizer
const unwritten = { step: () => true } as unknown as Journal

function oneToken(): Generation {
  const sequence = makeSequence({ prompt: [1, 5, 6], output_tokens_max: 1 })
  const request = generateRequest()
  return new Generation({
    ticket: '',
    attempt: 1,
    request,
    choices: [{ sequence, detokenizer: silent, echo: '' }],
  })
}

test('a request that arrives in the very moment the last one ends is run too', { timeout: 5000 }, async () => {
  const engine = new FakeEngine({ blocks: 8, vocab_size: 64 })
  const scheduler = new Scheduler({ blocks: 8, batch_tokens_max: 16, sequences_max: 4, waiting_max: 4 })
  const metrics = new Metrics({ model_name: 'm', tokens_max: 128, scheduler })
  const options = { engine, scheduler, journal: unwritten, metrics, on_finished: () => {}, on_failed: () => {} }
  const loop = new StepLoop(options)
  const arrivals = 20
  const { promise: all_ended, resolve } = Promise.withResolvers<number>()
  let ended = 0
  // Each end lets the next one in some turns of the microtask queue later, so that every turn around the end is met.
  const startAfter = async (turns: number) => {
    for (let i = 0; i < turns; i++) await null
    loop.start(oneToken(), client)
  }
  const client = {
    write: () => {},
    end: () => {
      ended++
      if (ended === arrivals) resolve(ended)
      else void startAfter(ended % 6)
    },
  } as unknown as Client
  loop.start(oneToken(), client)
  expect(await all_ended).toBe(arrivals)
})
