import { expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/generation.ts'
import type { UsageRecord } from '../../contract/sync.ts'
import type { Client } from '../../gpu-node/client.ts'
import type { Engine, StepBatch, StepResult } from '../../gpu-node/engine.ts'
import { Generation } from '../../gpu-node/generation.ts'
import type { Journal } from '../../gpu-node/journal.ts'
import { Metrics } from '../../gpu-node/metrics.ts'
import { Scheduler } from '../../gpu-node/scheduler.ts'
import type { Sequence } from '../../gpu-node/sequence.ts'
import { StepLoop } from '../../gpu-node/step-loop.ts'
import type { Detokenizer } from '../../gpu-node/tokenizer/detokenizer.ts'
import { expectedOutput, FakeEngine } from '../support/fake-engine.ts'
import { generateRequest } from '../support/generate.ts'
import { makeSequence } from '../support/sequences.ts'

const ENGINE = { blocks: 8, vocab_size: 64 }

const silent = { push: () => 'x', end: () => '' } as unknown as Detokenizer
const unwritten = { step: () => true } as unknown as Journal

function generationOf(sequence: Sequence, request: Partial<GenerateRequest> = {}): Generation {
  const choices = [{ sequence, detokenizer: silent, echo: '' }]
  return new Generation({ ticket: '', attempt: 1, request: generateRequest(request), choices })
}

const oneToken = () => generationOf(makeSequence({ prompt: [1, 5, 6], output_tokens_max: 1 }))

function loopOver(engine: Engine, { looks_ahead, journal = unwritten }: { looks_ahead: boolean; journal?: Journal }) {
  const scheduler = new Scheduler({ blocks: 8, batch_tokens_max: 16, sequences_max: 4, waiting_max: 4 })
  const metrics = new Metrics({ model_name: 'm', tokens_max: 128, scheduler })
  const on_failed = (error: unknown) => expect.unreachable(String(error))
  const loop = new StepLoop({ engine, scheduler, journal, metrics, looks_ahead, on_finished: () => {}, on_failed })
  return { loop, scheduler }
}

const deaf = { write: () => {}, end: () => {} } as unknown as Client

const aheadOrNot = [{ looks_ahead: false }, { looks_ahead: true }]

test.each(aheadOrNot)(
  'a request that arrives in the very moment the last one ends is run too: $looks_ahead',
  {
    timeout: 5000,
  },
  async ({ looks_ahead }) => {
    const { loop } = loopOver(new FakeEngine(ENGINE), { looks_ahead })
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
  },
)

/** Resolves steps when it is told to. */
class SteppedEngine extends FakeEngine {
  readonly submitted: StepBatch[] = []
  readonly #ready: (() => void)[] = []

  override async step(batch: StepBatch): Promise<StepResult> {
    this.submitted.push(batch)
    const result = super.step(batch)
    await new Promise<void>((resolve) => this.#ready.push(resolve))
    return result
  }

  /** Ends the oldest step, and waits for what the loop does then. */
  async endStep(): Promise<void> {
    this.#ready.shift()!()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test.each(aheadOrNot)(
  'the next step is in the hands of the engine before one is read: $looks_ahead',
  async ({ looks_ahead }) => {
    const engine = new SteppedEngine(ENGINE)
    const { loop } = loopOver(engine, { looks_ahead })
    loop.start(generationOf(makeSequence({ prompt: [1, 5, 6], output_tokens_max: 4 })), deaf)
    const ahead = looks_ahead ? 1 : 0
    const submitted: number[] = []
    for (let step = 1; step <= 4; step++) {
      submitted.push(engine.submitted.length)
      await engine.endStep()
    }
    expect(submitted).toEqual([1, 2, 3, 4].map((step) => Math.min(step + ahead, 4))) // none behind the last token
    expect(engine.submitted.map(({ tokens }) => tokens[0]! < 0)).toEqual([false, ...[2, 3, 4].map(() => looks_ahead)])
    await loop.whenIdle()
  },
)

// Each way to end leaves a step ahead under way that has drawn a token more.
const ends = [
  { how: 'a stop id', request: {} },
  { how: 'a stop string', request: { stop: ['xx'] } },
  { how: 'the client', request: {} },
]

test.each(ends)('what was drawn ahead of an end by $how is neither counted nor cached', async ({ how, request }) => {
  const first = makeSequence({ prompt: [1, 5, 6], output_tokens_max: 8 })
  const second_token = expectedOutput(first, ENGINE)[1]!
  const engine = new SteppedEngine(ENGINE)
  const records: UsageRecord[] = []
  const journal = { step: (_: unknown, ended: UsageRecord[]) => records.push(...ended) } as unknown as Journal
  const { loop, scheduler } = loopOver(engine, { looks_ahead: true, journal })
  const stop_ids = how === 'a stop id' ? { stop_ids: new Set([second_token]) } : {}
  const generation = generationOf(makeSequence({ prompt: [1, 5, 6], output_tokens_max: 8, ...stop_ids }), request)
  loop.start(generation, deaf)
  await engine.endStep()
  await engine.endStep()
  if (how === 'the client') loop.stop(generation, 'client_gone')
  await loop.whenIdle()
  expect(engine.submitted).toHaveLength(how === 'the client' ? 4 : 3)
  expect(records).toMatchObject([{ completion_tokens: 2 }])
  expect(scheduler.status).toMatchObject({ running: 0, blocks_free: 8, blocks_cached: 0 })
  // Who comes now is computed behind the step that nobody waits for.
  const next = makeSequence({ prompt: [1, 5, 6], output_tokens_max: 1 })
  loop.start(generationOf(next), deaf)
  while (next.state !== 'finished') await engine.endStep()
  expect(next.tokens.slice(3)).toEqual(expectedOutput(next, ENGINE))
})
