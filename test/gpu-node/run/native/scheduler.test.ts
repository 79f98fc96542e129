import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { StepResult } from '../../../../gpu-node/run/native/engine.ts'
import { unpackRows } from '../../../../gpu-node/run/native/row-table.ts'
import { Scheduler, type SchedulerLimits, type Step } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { expectedOutput, FakeEngine } from '../../../support/fake-engine.ts'
import { drawnOf, greedy, makeSequence, runToEnd } from '../../../support/sequences.ts'

const LIMITS: SchedulerLimits = { blocks: 64, batch_tokens_max: 32, sequences_max: 8, waiting_max: 100 }
const VOCABULARY = 500

const ids = (length: number, from = 3) => Array.from({ length }, (_, i) => from + i)
const result = (tokens: Int32Array) => ({ tokens }) as StepResult

/** A scheduler and a fake engine, stepped by hand. */
function setUp(limits: Partial<SchedulerLimits> = {}) {
  const all = { ...LIMITS, ...limits }
  const scheduler = new Scheduler(all)
  const engine = new FakeEngine({ blocks: all.blocks, vocab_size: VOCABULARY })
  const step = () => {
    const next = scheduler.schedule()
    return next && { ...next, outputs: scheduler.apply(next, result(engine.compute(next.batch))) }
  }
  const submit = (...sequences: Sequence[]) => {
    for (const sequence of sequences) scheduler.submit(sequence)
    return sequences
  }
  return { scheduler, engine, step, submit }
}

const counts = (step: Step | null) => step?.parts.map((part) => part.tokens)

describe('a step', () => {
  test('is null when there is nothing to do', () => {
    expect(setUp().step()).toBeNull()
  })

  test('computes a prompt in chunks of the budget and draws only at its end', () => {
    const { step, submit } = setUp()
    submit(makeSequence({ prompt: ids(70) }))
    const steps = [step(), step(), step(), step()]
    expect(steps.map(counts)).toEqual([[32], [32], [6], [1]])
    expect(steps.map((s) => s!.outputs.length)).toEqual([0, 0, 1, 1])
    expect(steps.map((s) => [...s!.batch.starts])).toEqual([[0], [32], [64], [70]])
  })

  test('gives each running stream its token before a long prompt gets the rest', () => {
    const { step, submit } = setUp()
    submit(makeSequence({ prompt: ids(3) }), makeSequence({ prompt: ids(4) }))
    step()
    submit(makeSequence({ prompt: ids(100) }))
    expect(counts(step())).toEqual([1, 1, 30])
    expect(counts(step())).toEqual([1, 1, 30])
  })

  test('runs no more sequences than allowed; the others wait in order', () => {
    const { scheduler, step, submit } = setUp({ sequences_max: 2 })
    const [first] = submit(...[1, 2, 3].map((i) => makeSequence({ prompt: ids(i) })))
    step()
    expect(scheduler.status).toMatchObject({ running: 2, waiting: 1 })
    scheduler.cancel(first!)
    step()
    expect(scheduler.status).toMatchObject({ running: 2, waiting: 0 })
  })

  test('leaves a paused sequence out, and takes it in again', () => {
    const { step, submit } = setUp()
    const [a, b] = submit(makeSequence({ prompt: ids(3) }), makeSequence({ prompt: ids(4) }))
    step()
    a!.paused = true
    expect(step()!.parts.map((part) => part.sequence)).toEqual([b])
    a!.paused = false
    expect(step()!.parts.map((part) => part.sequence)).toEqual([a, b])
  })
})

test('a step ahead leaves the one under way as it was, down to its blocks', () => {
  const { scheduler, submit } = setUp()
  const [first] = submit(...[40, 3].map((tokens) => makeSequence({ prompt: ids(tokens), output_tokens_max: 30 })))
  let under_way = scheduler.schedule()!
  for (let i = 0; i < 6; i++) {
    const before = structuredClone(under_way.batch)
    if (i === 4) scheduler.cancel(first!) // the blocks of the second come where its own were
    const ahead = scheduler.schedule()!
    expect(under_way.batch).toEqual(before)
    scheduler.apply(under_way, result(Int32Array.from(unpackRows(under_way.batch.rows), () => 5)))
    under_way = ahead
  }
})

describe('a sequence ends', () => {
  test('at its last token', () => {
    const { scheduler, step, submit } = setUp()
    submit(makeSequence({ prompt: ids(3), output_tokens_max: 2 }))
    expect([step(), step()].map((s) => drawnOf(s!.outputs)[0]!.finish)).toEqual([null, 'length'])
    expect(scheduler.status).toMatchObject({ running: 0, blocks_free: LIMITS.blocks })
  })

  test('at an end-of-sequence id, whichever of the list', () => {
    const { scheduler, submit } = setUp()
    submit(makeSequence({ prompt: ids(3), stop_ids: new Set([7, 9]) }))
    const outputs = scheduler.apply(scheduler.schedule()!, result(Int32Array.of(9)))
    expect(outputs).toMatchObject([{ token: 9, finish: 'stop' }])
    expect(scheduler.schedule()).toBeNull()
  })

  test('when cancelled, with its blocks free at once and the token in flight dropped', () => {
    const { scheduler, engine, submit } = setUp()
    const [sequence] = submit(makeSequence({ prompt: ids(10) }))
    const in_flight = scheduler.schedule()!
    scheduler.cancel(sequence!)
    expect(scheduler.status.blocks_free).toBe(LIMITS.blocks)
    expect(scheduler.apply(in_flight, result(engine.compute(in_flight.batch)))).toEqual([])
  })

  test('when cancelled while it waits', () => {
    const { scheduler, submit } = setUp()
    const [sequence] = submit(makeSequence({ prompt: ids(3) }))
    scheduler.cancel(sequence!)
    expect(scheduler.schedule()).toBeNull()
    expect(scheduler.status.waiting).toBe(0)
  })
})

describe('when blocks run out', () => {
  // Two prompts of two blocks each fill four blocks; the first to need a third block finds none.
  const two = () => [
    makeSequence({ prompt: ids(31), output_tokens_max: 20 }),
    makeSequence({ prompt: ids(31, 40), output_tokens_max: 20 }),
  ]
  const limits = { ...LIMITS, blocks: 5, batch_tokens_max: 64 }

  test('the youngest gives way and the oldest goes on', () => {
    const { scheduler, step, submit } = setUp(limits)
    const [oldest, youngest] = submit(...two())
    while (scheduler.status.preemptions === 0) expect(step()).not.toBeNull()
    expect([oldest!.state, youngest!.state]).toEqual(['running', 'waiting'])
    expect(youngest!).toMatchObject({ computed: 0, blocks: [] })
  })

  test('a preempted sequence resumes with the same tokens', async () => {
    const options = { blocks: 5, vocab_size: VOCABULARY }
    const sequences = two()
    const outputs = await runToEnd(new FakeEngine(options), new Scheduler(limits), sequences)
    expect(outputs).toEqual(sequences.map((sequence) => expectedOutput(sequence, options)))
  })

  test('a paused sequence gives way first, even the oldest', () => {
    const { scheduler, step, submit } = setUp(limits)
    const [oldest, youngest] = submit(...two())
    step()
    oldest!.paused = true
    while (scheduler.status.preemptions === 0) expect(step()).not.toBeNull()
    expect([oldest!.state, youngest!.state]).toEqual(['waiting', 'running'])
  })

  test('one that fits exactly runs alone to its end', async () => {
    const sequence = makeSequence({ prompt: ids(70), output_tokens_max: 10 })
    const [output] = await runToEnd(new FakeEngine({ blocks: 5, vocab_size: VOCABULARY }), new Scheduler(limits), [
      sequence,
    ])
    expect(output).toHaveLength(10)
  })

  test('what could never fit is not let in', () => {
    const { scheduler } = setUp(limits)
    expect(scheduler.sequence_tokens_max).toBe(80)
    expect(() => scheduler.submit(makeSequence({ prompt: ids(70), output_tokens_max: 11 }))).toThrow('what fits')
  })
})

describe('priority', () => {
  const interactive = (from: number) => makeSequence({ prompt: ids(4, from) })
  const batch = (from: number) => makeSequence({ prompt: ids(4, from), priority: 'batch', output_tokens_max: 40 })
  const running = (scheduler: Scheduler, sequences: Sequence[]) => {
    scheduler.schedule()
    return sequences.map(({ state }) => state === 'running')
  }

  test('lets interactive sequences in before those of a batch, each in order of arrival', () => {
    const { scheduler, submit } = setUp({ sequences_max: 3 })
    const all = submit(batch(1), batch(10), interactive(20), interactive(30))
    expect(running(scheduler, all)).toEqual([true, false, true, true])
  })

  test('gives an interactive sequence the place of the youngest of a batch, never that of the oldest of all', () => {
    const { scheduler, step, submit } = setUp({ sequences_max: 3 })
    const [oldest, older, youngest] = submit(batch(1), batch(10), batch(20))
    step()
    const first = submit(interactive(30))
    step()
    expect([oldest!, older!, youngest!, ...first].map(({ state }) => state === 'running')).toEqual([
      true,
      true,
      false,
      true,
    ])
    submit(interactive(40), interactive(50))
    step()
    expect([oldest!.state, older!.state]).toEqual(['running', 'waiting'])
    expect(scheduler.status).toMatchObject({ running: 3, waiting: 3, preemptions: 2 })
  })

  test('computes an interactive prompt before that of a batch', () => {
    const { step, submit } = setUp()
    const [of_batch] = submit(makeSequence({ prompt: ids(60), priority: 'batch' }))
    step()
    const [second] = submit(makeSequence({ prompt: ids(30, 100) }))
    const parts = step()!.parts.map(({ sequence, tokens }) => [sequence, tokens])
    expect(parts).toEqual([
      [second, 30],
      [of_batch, 2],
    ])
  })

  // However many come: one that arrives for each that ends, for ever.
  test('starves no batch: it is overtaken by no more than 128', () => {
    const { step, submit, scheduler } = setUp({ sequences_max: 2, waiting_max: 1000 })
    submit(interactive(1), interactive(2))
    const [waits] = submit(makeSequence({ prompt: ids(4, 50), priority: 'batch', output_tokens_max: 8 }))
    let overtaken = 0
    for (let i = 0; waits!.state !== 'finished'; i++) {
      expect(overtaken).toBeLessThanOrEqual(128)
      while (scheduler.status.running + scheduler.status.waiting < 12) submit(interactive(i % 300))
      const before = waits!.state
      const ended = drawnOf(step()!.outputs).filter(
        ({ finish, sequence }) => finish !== null && sequence.arrival > waits!.arrival,
      )
      if (before === 'waiting') overtaken += ended.length
    }
    expect(overtaken).toBeGreaterThan(100)
  })
})

describe('the prefix cache', () => {
  test('spares a prompt the full blocks another computed, but never its last token', () => {
    const { step, submit } = setUp({ batch_tokens_max: 100 })
    submit(makeSequence({ prompt: ids(40), output_tokens_max: 1 }))
    step()
    const [longer, same, exact] = submit(
      makeSequence({ prompt: [...ids(40), 7], output_tokens_max: 1 }),
      makeSequence({ prompt: ids(40), output_tokens_max: 1 }),
      makeSequence({ prompt: ids(32), output_tokens_max: 1 }),
    )
    expect(counts(step())).toEqual([9, 8, 16])
    expect([longer, same, exact].map((sequence) => sequence!.cached_tokens)).toEqual([32, 32, 16])
  })

  test('is found by who comes while the other still runs', () => {
    const { step, submit } = setUp()
    submit(makeSequence({ prompt: ids(20) }))
    step()
    submit(makeSequence({ prompt: ids(20) }))
    expect(counts(step())).toEqual([1, 4])
  })

  test('holds what was generated too', () => {
    const { step, submit } = setUp()
    const [first] = submit(makeSequence({ prompt: ids(10), output_tokens_max: 8 }))
    while (step());
    submit(makeSequence({ prompt: [...first!.tokens.slice(0, 17), 9] }))
    expect(counts(step())).toEqual([2])
  })

  test('tells no account what another has asked', () => {
    const { step, submit } = setUp()
    submit(makeSequence({ prompt: ids(32), cache_salt: 'one' }))
    step()
    const [other] = submit(makeSequence({ prompt: ids(32), cache_salt: 'another' }))
    expect(counts(step())).toEqual([1, 31])
    expect(other!.cached_tokens).toBe(0)
  })

  test('keeps one copy of what two computed side by side', () => {
    const { scheduler, step, submit } = setUp({ batch_tokens_max: 100 })
    const [a, b] = submit(makeSequence({ prompt: ids(33) }), makeSequence({ prompt: ids(33) }))
    step()
    expect(a!.blocks.slice(0, 2)).toEqual(b!.blocks.slice(0, 2))
    expect(scheduler.status).toMatchObject({ blocks_cached: 2, blocks_free: LIMITS.blocks - 4 })
  })

  test('gives way to those that run, the longest unused first', () => {
    const { scheduler, step, submit } = setUp({ blocks: 6, batch_tokens_max: 100 })
    submit(makeSequence({ prompt: ids(32), output_tokens_max: 1 }))
    step()
    submit(makeSequence({ prompt: ids(32, 100), output_tokens_max: 1 }))
    step()
    submit(makeSequence({ prompt: ids(48, 200), output_tokens_max: 1 }))
    step()
    expect(scheduler.status).toMatchObject({ blocks_free: 6, blocks_cached: 6 })
    const [sequence] = submit(makeSequence({ prompt: [...ids(32), 9], output_tokens_max: 1 }))
    step()
    expect(sequence!.cached_tokens, 'the end of the first is gone, its beginning is not').toBe(16)
  })

  test('lets a preempted sequence go on where it was, as far as its blocks are left', () => {
    const limits = { ...LIMITS, blocks: 5, batch_tokens_max: 64 }
    const { scheduler, step, submit } = setUp(limits)
    const [oldest, youngest] = submit(
      makeSequence({ prompt: ids(31), output_tokens_max: 20 }),
      makeSequence({ prompt: ids(31, 40), output_tokens_max: 30 }),
    )
    while (scheduler.status.preemptions === 0) expect(step()).not.toBeNull()
    const { target } = youngest!
    while (oldest!.state !== 'finished') expect(step()).not.toBeNull()
    const next = step()!
    expect(next.parts[0]!.tokens).toBeLessThan(target)
    expect(youngest!.cached_tokens, 'what it is billed as cached is what its prompt found at first').toBe(0)
  })
})

describe('choices over one prompt', () => {
  const fork = (n: number, own: Partial<Parameters<typeof makeSequence>[0]> = {}) => {
    const options = { prompt: ids(70), output_tokens_max: 20, ...own }
    const sampling = (copy: number) => ({ ...greedy, temperature: 1, seed: BigInt(copy) })
    const leader = makeSequence({ ...options, sampling: sampling(0) })
    return [
      leader,
      ...Array.from({ length: n - 1 }, (_, i) => makeSequence({ ...options, leader, sampling: sampling(i + 1) })),
    ]
  }

  test('are computed once', () => {
    const { step, submit } = setUp()
    submit(...fork(3))
    expect([step(), step(), step(), step()].map(counts)).toEqual([[32], [32], [6, 6, 6], [1, 1, 1]])
  })

  test('draw what separate requests draw', async () => {
    const options = { blocks: 64, vocab_size: VOCABULARY }
    const forked = await runToEnd(new FakeEngine(options), new Scheduler(LIMITS), fork(5))
    const separate = fork(5).map((sequence) => expectedOutput(sequence, options))
    expect(forked).toEqual(separate)
    expect(new Set(forked.map(String)).size).toBe(5)
  })

  test('go on when the first of them is cancelled before the prompt is computed', () => {
    const { scheduler, step, submit } = setUp()
    const [leader, ...others] = submit(...fork(3))
    step()
    scheduler.cancel(leader!)
    while (step());
    expect(others.map((sequence) => sequence.output_tokens)).toEqual([20, 20])
  })

  test('do not wait where there is no full block to share', () => {
    const { step, submit } = setUp()
    submit(...fork(3, { prompt: ids(16) }))
    expect(counts(step())).toEqual([16, 16])
  })
})

test('the queue is bounded', () => {
  const { scheduler, submit } = setUp({ waiting_max: 2 })
  submit(makeSequence({ prompt: ids(1) }))
  expect([scheduler.hasRoomFor(1), scheduler.hasRoomFor(2)]).toEqual([true, false])
})

// 256 streams take 0.3 ms (bench/scheduler.ts). On any machine eight times the streams take about eight times the work, not its square.
test('what a step takes the scheduler grows with its streams, not with their square', async () => {
  const workOf = async (streams: number) => {
    const bench = join(import.meta.dirname, '../../../../bench/scheduler.ts')
    const { stdout } = await promisify(execFile)(process.execPath, [bench, String(streams)])
    return (JSON.parse(stdout) as { cpu_mean_ms: number }).cpu_mean_ms
  }
  const few = await workOf(32)
  expect(await workOf(256)).toBeLessThan(32 * few)
})
