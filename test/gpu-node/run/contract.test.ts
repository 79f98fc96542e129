// What whoever serves relies on, whichever runner stands behind the seam: one table of cases for all of them.

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Run, RunEvent, Runner, RunRequest } from '../../../gpu-node/run/runner.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { FakeRunner, UNREADABLE } from '../../support/fake-runner.ts'
import { generateRequest } from '../../support/generate.ts'
import { nativeRunner, nodeConfig } from '../../support/native-runner.ts'
import { eventually } from '../../support/patience.ts'

const STEP_MS = 2

const kinds: { kind: string; make: () => Runner; unreadable: RunRequest['prompts'] }[] = [
  {
    kind: 'our own engine',
    make: () => {
      const config = nodeConfig({ data_dir: temporaryFolder() })
      return nativeRunner(config, { engine: { blocks: 256, step_ms: STEP_MS }, context_tokens: 1000 }).runner
    },
    unreadable: [[{ special: 'no such piece' }]],
  },
  {
    kind: 'another, of the tests',
    make: () => new FakeRunner({ step_ms: STEP_MS }),
    unreadable: [[{ text: UNREADABLE }]],
  },
]

describe.each(kinds)('$kind', ({ make, unreadable }) => {
  /** An open runner, and every event of its steps, in order. */
  async function setUp() {
    const runner = make()
    const events: RunEvent[] = []
    let steps_at_once = 0
    await runner.open({
      onStep: async (step) => {
        expect(++steps_at_once, 'one step after the other').toBe(1)
        events.push(...step.events)
        await sleep(1)
        steps_at_once--
      },
      onFailed: (error) => expect.unreachable(String(error)),
    })
    onTestFinished(() => runner.close())
    const prepare = (changes: Partial<RunRequest> = {}) => runner.prepare(generateRequest(changes), 'salt')
    const eventsOf = (run: Run, choice = 0) => events.filter((event) => event.run === run && event.choice === choice)
    return { runner, prepare, eventsOf }
  }

  async function until(is_so: () => boolean): Promise<void> {
    await eventually(async () => (is_so() ? true : null))
  }

  const tokensOf = (events: RunEvent[]) => events.reduce((sum, { tokens }) => sum + tokens, 0)
  const finishesOf = (events: RunEvent[]) => events.map(({ finish }) => finish).filter((finish) => finish !== null)

  test('a run knows its counts before it starts, and has used nothing', async () => {
    const { prepare, runner } = await setUp()
    const prompts = [[{ text: 'one' }], [{ text: 'one two' }]]
    const run = prepare({ prompts, n: 2, max_tokens: 7 })
    expect(run.choices.map(({ output_tokens_max }) => output_tokens_max)).toEqual([7, 7, 7, 7])
    const [first, , second] = run.choices
    expect(run.prompt_tokens).toBe(first!.prompt_tokens + second!.prompt_tokens)
    expect(run.usage).toEqual({ prompt_tokens: 0, cached_tokens: 0 })
    expect(run.choices.map(({ begun_at_ms }) => begun_at_ms)).toEqual([null, null, null, null])
    expect(runner.load.running + runner.load.waiting).toBe(0)
  })

  test('each choice ends once, with its last event, after no more tokens than it may have', async () => {
    const { prepare, eventsOf, runner } = await setUp()
    const runs = [prepare({ max_tokens: 9 }), prepare({ max_tokens: 4, n: 3 })]
    for (const run of runs) run.start()
    const all = runs.flatMap((run) => run.choices.map((choice, index) => ({ run, choice, index })))
    await until(() => all.every(({ run, index }) => finishesOf(eventsOf(run, index)).length > 0))
    for (const { run, choice, index } of all) {
      const events = eventsOf(run, index)
      expect(finishesOf(events)).toEqual(['length'])
      expect(events.at(-1)!.finish).toBe('length')
      expect(tokensOf(events)).toBe(choice.output_tokens_max)
      expect(choice.begun_at_ms).toBeLessThanOrEqual(performance.now())
    }
    for (const run of runs) expect(run.usage.prompt_tokens).toBe(run.prompt_tokens)
    expect(runner.load.running).toBe(0)
  })

  test('a run that is stopped ends each open choice, and has no event more', async () => {
    const { prepare, eventsOf, runner } = await setUp()
    const run = prepare({ max_tokens: 900, n: 2 })
    run.start()
    await until(() => tokensOf(eventsOf(run)) > 2)
    const last = run.stop()
    expect(last.map(({ choice, finish }) => [choice, finish])).toEqual([
      [0, 'length'],
      [1, 'length'],
    ])
    expect(runner.load.running).toBe(0)
    const before = eventsOf(run).length
    await sleep(10 * STEP_MS)
    expect(eventsOf(run)).toHaveLength(before)
  })

  test('a run that is paused gets no tokens until it goes on, and others do', async () => {
    const { prepare, eventsOf } = await setUp()
    const [paused, other] = [prepare({ max_tokens: 900 }), prepare({ max_tokens: 900 })]
    for (const run of [paused, other]) run.start()
    await until(() => tokensOf(eventsOf(paused)) > 2)
    paused.setPaused(true)
    const goOn = async (tokens: number) => {
      const seen = tokensOf(eventsOf(other))
      await until(() => tokensOf(eventsOf(other)) >= seen + tokens)
    }
    await goOn(3) // what was under way comes still
    const held = tokensOf(eventsOf(paused))
    await goOn(5)
    expect(tokensOf(eventsOf(paused))).toBe(held)
    paused.setPaused(false)
    await until(() => tokensOf(eventsOf(paused)) > held)
    for (const run of [paused, other]) run.stop()
  })

  test('what it cannot read is refused by name before anything runs', async () => {
    const { prepare, runner } = await setUp()
    expect(() => prepare({ prompts: unreadable })).toThrow(expect.objectContaining({ code: 'unknown_special' }))
    expect(runner.load.running + runner.load.waiting).toBe(0)
  })
})
