import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { TeachingEngine } from '../../../../bench/edit-task.ts'
import type { GenerateRequest } from '../../../../contract/internal/generation.ts'
import type { UsageRecord } from '../../../../contract/internal/sync.ts'
import { Generation } from '../../../../gpu-node/answer/generation.ts'
import type { Engine, StepBatch, StepResult } from '../../../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import { type NativeChoiceParts, NativeRun } from '../../../../gpu-node/run/native/run.ts'
import { Scheduler, type SchedulerLimits } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import type { StepCost } from '../../../../gpu-node/run/native/step-cost.ts'
import { StepLoop } from '../../../../gpu-node/run/native/step-loop.ts'
import { Detokenizer } from '../../../../gpu-node/run/native/tokenizer/detokenizer.ts'
import { Streams, type StreamsOptions } from '../../../../gpu-node/serve/streams.ts'
import { expectedOutput, FakeEngine } from '../../../support/fake-engine.ts'
import { generateRequest } from '../../../support/generate.ts'
import { journalOf, readerOf } from '../../../support/journal.ts'
import { greedy, makeSequence } from '../../../support/sequences.ts'

const ENGINE = { blocks: 8, vocab_size: 64 }

const unwritten = journalOf()
const unmeasured = { step: () => {}, ended: () => {} }

interface Around {
  looks_ahead?: boolean
  limits?: Partial<SchedulerLimits>
  journal?: StreamsOptions['journal']
}

/** A step loop, and the streams that it tells of its steps. */
function loopOver(engine: Engine, { looks_ahead = false, limits = {}, journal = unwritten }: Around) {
  const scheduler = new Scheduler({ blocks: 8, batch_tokens_max: 16, sequences_max: 4, waiting_max: 4, ...limits })
  const on_failed = (error: unknown) => expect.unreachable(String(error))
  const loop = new StepLoop({ engine, scheduler, looks_ahead })
  const whenSettled = async () => {}
  const streams = new Streams({ journal, metrics: unmeasured, on_finished: () => {}, whenSettled, on_failed })
  loop.open(streams)
  return { loop, streams, scheduler }
}

const x = { unfinished: '', text: 'x' }
const silent = { take: () => x, end: () => '', surface: () => ({ text: 'x', bytes: null }) }

/** A generation of one sequence. */
function generationOf(
  loop: StepLoop,
  sequence: Sequence,
  changes: Partial<GenerateRequest> = {},
  detokenizer: NativeChoiceParts['detokenizer'] = silent,
): Generation {
  const request = generateRequest(changes)
  const run = new NativeRun(request, [{ sequence, detokenizer, echo: '' }], loop)
  return new Generation({ ticket: '', attempt: 1, request, run })
}

const oneToken = (loop: StepLoop) => generationOf(loop, makeSequence({ prompt: [1, 5, 6], output_tokens_max: 1 }))

const deaf = readerOf()

const aheadOrNot = [{ looks_ahead: false }, { looks_ahead: true }]

test.each(aheadOrNot)(
  'a request that arrives in the very moment the last one ends is run too: $looks_ahead',
  async ({ looks_ahead }) => {
    const { loop, streams } = loopOver(new FakeEngine(ENGINE), { looks_ahead })
    const arrivals = 20
    const { promise: all_ended, resolve } = Promise.withResolvers<number>()
    let ended = 0
    // Each end lets the next one in some turns of the microtask queue later, so that every turn around the end is met.
    const startAfter = async (turns: number) => {
      for (let i = 0; i < turns; i++) await null
      streams.start(oneToken(loop), client)
    }
    const client = readerOf({
      end: () => {
        ended++
        if (ended === arrivals) resolve(ended)
        else void startAfter(ended % 6)
      },
    })
    streams.start(oneToken(loop), client)
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
    for (let turn = 0; turn < 20; turn++) await nextTurn() // the loop and its streams take a few
  }
}

test.each(aheadOrNot)(
  'the next step is in the hands of the engine before one is read: $looks_ahead',
  async ({ looks_ahead }) => {
    const engine = new SteppedEngine(ENGINE)
    const { loop, streams } = loopOver(engine, { looks_ahead })
    streams.start(generationOf(loop, makeSequence({ prompt: [1, 5, 6], output_tokens_max: 4 })), deaf)
    const ahead = looks_ahead ? 1 : 0
    const submitted: number[] = []
    for (let step = 1; step <= 4; step++) {
      submitted.push(engine.submitted.length)
      await engine.endStep()
    }
    expect(submitted).toEqual([1, 2, 3, 4].map((step) => Math.min(step + ahead, 4))) // none behind the last token
    expect(engine.submitted.map(({ tokens }) => tokens[0]! < 0)).toEqual([false, ...[2, 3, 4].map(() => looks_ahead)])
    await streams.whenIdle()
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
  const journal = journalOf((_, ended) => void records.push(...ended))
  const { loop, streams, scheduler } = loopOver(engine, { looks_ahead: true, journal })
  const stop_ids = how === 'a stop id' ? { stop_ids: new Set([second_token]) } : {}
  const generation = generationOf(loop, makeSequence({ prompt: [1, 5, 6], output_tokens_max: 8, ...stop_ids }), request)
  streams.start(generation, deaf)
  await engine.endStep()
  await engine.endStep()
  if (how === 'the client') streams.stop(generation, 'client_gone')
  await streams.whenIdle()
  expect(engine.submitted).toHaveLength(how === 'the client' ? 4 : 3)
  expect(records).toMatchObject([{ completion_tokens: 2 }])
  expect(scheduler.status).toMatchObject({ running: 0, blocks_free: 8, blocks_cached: 0 })
  // Who comes now is computed behind the step that nobody waits for.
  const next = makeSequence({ prompt: [1, 5, 6], output_tokens_max: 1 })
  streams.start(generationOf(loop, next), deaf)
  while (next.state !== 'finished') await engine.endStep()
  expect(next.tokens.slice(3)).toEqual(expectedOutput(next, ENGINE))
})

/** An engine on a clock that nothing but its steps moves. */
function timed(engine: Engine, { step_ms, token_ms }: StepCost): Engine & { sizes: number[] } {
  let now_ms = 0
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now_ms)
  onTestFinished(() => clock.mockRestore())
  const sizes: number[] = []
  const step = async (batch: StepBatch) => {
    const result = await engine.step(batch)
    sizes.push(batch.tokens.length)
    now_ms += step_ms + token_ms * batch.tokens.length
    return result
  }
  return { info: engine.info, close: () => engine.close(), step, sizes }
}

describe('what steps take reaches the scheduler', () => {
  const [STEP_MS, TOKEN_MS] = [10, 1]
  const timedFake = (options: { period_tokens?: number } = {}) =>
    timed(new FakeEngine({ blocks: 64, vocab_size: 500, ...options }), { step_ms: STEP_MS, token_ms: TOKEN_MS })

  const room = { blocks: 64, batch_tokens_max: 256 }
  const prompt = (tokens: number) => Array.from({ length: tokens }, (_, i) => 3 + ((i * 7919) % 490))

  test('a prompt beside a stream comes in pieces that keep the stream going', async () => {
    const engine = timedFake()
    const { loop, streams } = loopOver(engine, { limits: room })
    const long = generationOf(loop, makeSequence({ prompt: prompt(400), output_tokens_max: 1 }))
    let written = 0
    const beside = readerOf()
    const client = readerOf({
      write: () => {
        written++
        if (written === 50) streams.start(long, beside)
      },
    })
    streams.start(
      generationOf(loop, makeSequence({ prompt: prompt(40).reverse(), output_tokens_max: 300 }), { stream: true }),
      client,
    )
    await streams.whenIdle()
    const pieces = engine.sizes.slice(50).filter((size) => size > 1)
    expect(pieces.reduce((sum, size) => sum + size - 1, 0)).toBeGreaterThanOrEqual(400)
    // Twice the time of a step of the stream alone, and three times at worst.
    expect(Math.max(...pieces)).toBeLessThanOrEqual(3 * (STEP_MS + TOKEN_MS) - STEP_MS)
    expect(pieces.at(-2)).toBeGreaterThan(STEP_MS / TOKEN_MS / 2)
  })

  test('drafts are made, for they need to know what a token costs', async () => {
    const { loop, streams, scheduler } = loopOver(timedFake({ period_tokens: 5 }), {
      limits: { ...room, speculation: 'prompt-lookup' },
    })
    const client = readerOf()
    streams.start(generationOf(loop, makeSequence({ prompt: prompt(20), output_tokens_max: 300 })), client)
    await streams.whenIdle()
    expect(scheduler.status.drafts_accepted).toBeGreaterThan(0)
  })
})

describe.each(aheadOrNot)('many streams of one step: $looks_ahead', ({ looks_ahead }) => {
  const STREAMS = 24
  const TOKENS = 3

  interface Moments {
    onTake?: (stream: number) => void
    onWrite?: (stream: number) => void
  }

  /** Serves them; turning a token into text and writing to a socket take a millisecond each. */
  async function serve(momentsOf: (streams: Streams, generations: Generation[]) => Moments) {
    let now_ms = 0
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now_ms)
    onTestFinished(() => clock.mockRestore())
    const log: string[] = []
    const finished: UsageRecord[] = []
    const journal = journalOf((counts, records) => {
      log.push(`journal ${counts.length} ${records.length}`)
      finished.push(...records)
    })
    const engine = new FakeEngine({ blocks: 64, vocab_size: 500 })
    const limits = { blocks: 64, batch_tokens_max: 256, sequences_max: 64, waiting_max: 64 }
    const { loop, streams } = loopOver(engine, { looks_ahead, limits, journal })
    let moments: Moments = {}
    const generations = Array.from({ length: STREAMS }, (_, i) => {
      const take = () => {
        now_ms++
        moments.onTake?.(i)
        return x
      }
      const sequence = makeSequence({ prompt: [1, 5 + i], output_tokens_max: TOKENS })
      const detokenizer = { ...silent, take }
      return generationOf(loop, sequence, { request_id: `${i}`, stream: true }, detokenizer)
    })
    moments = momentsOf(streams, generations)
    for (const [i, generation] of generations.entries()) {
      const write = (what: string) => {
        now_ms++
        moments.onWrite?.(i)
        log.push(`${what} ${i}`)
      }
      streams.start(generation, readerOf({ write: () => write('write'), end: () => write('end') }))
    }
    await streams.whenIdle()
    return { log, finished }
  }

  test('are served over several turns of the event loop, after one write of the journal', async () => {
    let turn = 0
    let is_over = false
    const count = () => {
      turn++
      if (!is_over) setImmediate(count)
    }
    setImmediate(count)
    const done = new Map<number, number>()
    const one = () => done.set(turn, (done.get(turn) ?? 0) + 1)
    const { log } = await serve(() => ({ onTake: one, onWrite: one }))
    is_over = true
    expect(Math.max(...done.values())).toBeLessThanOrEqual(4) // milliseconds: one turn may end a step and begin the next
    const counts = log.map((line) => line.split(' ')[0])
    expect([counts[0], counts.at(-1)]).toEqual(['journal', 'end'])
    const oneStep = (what: string) => ['journal', ...Array.from({ length: STREAMS - 1 }, () => what)]
    // The first one came alone, before the others.
    expect(counts.filter((what) => what === 'journal')).toHaveLength(TOKENS + (looks_ahead ? 2 : 1))
    expect(log.filter((line) => line.startsWith('end'))).toHaveLength(STREAMS)
    expect(counts.join()).toContain(oneStep('write').join())
  })

  const LEAVER = 10
  interface Leave {
    moment: keyof Moments
    of: number // the stream whose moment it is
    step: number
    tokens: number
    outcome: 'client_gone' | 'length'
  }
  const leaves: [string, Leave][] = [
    ['before its token is taken', { moment: 'onTake', of: 1, step: 2, tokens: 1, outcome: 'client_gone' }],
    ['between its token and the journal', { moment: 'onTake', of: 20, step: 2, tokens: 2, outcome: 'client_gone' }],
    ['between the journal and its turn', { moment: 'onWrite', of: 1, step: 2, tokens: 2, outcome: 'client_gone' }],
    ['before its last token is taken', { moment: 'onTake', of: 1, step: 3, tokens: 2, outcome: 'client_gone' }],
    ['between its last token and the journal', { moment: 'onTake', of: 20, step: 3, tokens: 3, outcome: 'length' }],
    [
      'between the journal of its end and its turn',
      { moment: 'onWrite', of: 1, step: 3, tokens: 3, outcome: 'length' },
    ],
  ]

  test.each(leaves)('one that leaves %s ends once, with what it was counted', async (_, leave) => {
    const { moment, of, step, tokens, outcome } = leave
    let come = 0
    const { log, finished } = await serve((streams, generations) => ({
      [moment]: (stream: number) => {
        if (stream === of && ++come === step) setImmediate(() => streams.stop(generations[LEAVER]!, 'client_gone'))
      },
    }))
    for (let i = 0; i < STREAMS; i++) {
      const ends = log.filter((line) => line === `end ${i}`)
      expect(ends, `stream ${i}`).toHaveLength(1)
      const records = finished.filter(({ request_id }) => request_id === `${i}`)
      const expected =
        i === LEAVER ? { completion_tokens: tokens, outcome } : { completion_tokens: TOKENS, outcome: 'length' }
      expect(records, `stream ${i}`).toEqual([expect.objectContaining(expected)])
    }
  })
})

describe('a stop string that ends inside of an accepted draft', () => {
  const { tokenizer } = readModelFolder(join(import.meta.dirname, '../../../../models/ziya-coding-mini'))
  const code = 'def add(first, second):\n    """Sum."""\n    return first + second\n\n'
  const prompt = [1, ...tokenizer.encode(code.repeat(3))]
  const taught = tokenizer.encode(code.repeat(3) + 'print(add(1, 2))\n'.repeat(2))
  const text = Detokenizer.textOf(tokenizer, taught)

  /** Everything that is told of an answer, and how many drawn tokens nobody was told of. */
  async function answerOf(speculation: 'off' | 'prompt-lookup', changes: Partial<GenerateRequest>) {
    const engine = new TeachingEngine(new FakeEngine({ blocks: 64, vocab_size: tokenizer.size }))
    engine.answer = taught
    const clocked = timed(engine, { step_ms: 10, token_ms: 0.1 })
    const limits = { blocks: 64, batch_tokens_max: 512, sequences_max: 32, speculation }
    const { loop, streams } = loopOver(clocked, { limits })
    const sampling = { ...greedy, logprobs: changes.logprobs ?? null }
    const sequence = makeSequence({ prompt, output_tokens_max: taught.length, stop_ids: new Set(), sampling })
    const generation = generationOf(loop, sequence, changes, Detokenizer.after(tokenizer, prompt))
    const bytes: string[] = []
    const client = readerOf({ write: (text) => void bytes.push(text), end: (text) => void bytes.push(text) })
    streams.start(generation, client)
    await streams.whenIdle()
    const { outcome, prompt_tokens, completion_tokens, delivered_tokens } = generation.record(generation.outcome!, 0)
    const told = { bytes: bytes.join(''), outcome, prompt_tokens, completion_tokens, delivered_tokens }
    return { told, steps: engine.steps, dropped: sequence.output_tokens - completion_tokens }
  }

  const shapes: [string, Partial<GenerateRequest>][] = [
    ['whole', {}],
    ['whole, the stop included', { include_stop: true }],
    ['whole, with log-probabilities', { logprobs: 2 }],
    ['streamed', { stream: true, include_usage: true }],
    ['streamed, with log-probabilities', { stream: true, logprobs: 1, include_usage: true }],
  ]

  test.each(shapes)('%s: the same text, end and counts as without drafts', async (_, changes) => {
    let inside = 0
    for (let at = 0; at + 4 <= text.length; at += 5) {
      for (const length of [1, 4, 9]) {
        const request = { response_id: 'id', ...changes, stop: [text.slice(at, at + length)] }
        const off = await answerOf('off', request)
        const on = await answerOf('prompt-lookup', request)
        expect(on.told, JSON.stringify(request.stop)).toEqual(off.told)
        expect(off.dropped).toBe(0)
        if (on.dropped > 0) inside++
      }
    }
    expect(inside).toBeGreaterThan(5) // drafts went on behind the stop, and were right
  })

  test('without a stop, drafts save steps', async () => {
    const [off, on] = [await answerOf('off', {}), await answerOf('prompt-lookup', {})]
    expect(on.told).toEqual(off.told)
    expect(on.steps).toBeLessThan(off.steps)
  })
})
