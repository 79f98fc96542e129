// What cannot be made of one run ends that run, and the others are handed out.

import { expect, test } from 'vitest'
import type { RunEvent } from '../../../../gpu-node/run/runner.ts'
import { HandOut, type StoppableRun } from '../../../../gpu-node/run/upstream/hand-out.ts'

function runOf(hand_out: HandOut): StoppableRun {
  const unused = { choices: [], prompt_tokens: 0, usage: { prompt_tokens: 0, cached_tokens: 0 } }
  const run: StoppableRun = {
    ...{ ...unused, is_stopped: false, start: () => {}, stop: () => [], setPaused: () => {} },
    fail: () => hand_out.fail(run),
  }
  return run
}

test('an event that cannot be made fails its run alone', async () => {
  const hand_out = new HandOut()
  const [broken, well] = [runOf(hand_out), runOf(hand_out)]
  const taken: StoppableRun[] = []
  const failed: StoppableRun[] = []
  const both = Promise.withResolvers<void>()
  hand_out.open({
    onStep: async (step) => {
      for (const { run } of step.events) taken.push(run as StoppableRun)
      failed.push(...((step.failed ?? []) as StoppableRun[]))
      if (failed.length > 0) both.resolve()
    },
    onFailed: (error) => both.reject(error),
  })
  const event = (run: StoppableRun) =>
    ({ run, choice: 0, text: 'x', tokens: 1, logprobs: [], finish: null }) as RunEvent
  const brought = [
    hand_out.bring({
      run: broken,
      event: () => {
        throw new Error('planted')
      },
    }),
    hand_out.bring({ run: well, event: () => event(well) }),
  ]
  await Promise.all([both.promise, ...brought])
  expect(taken.map((run) => run === well)).toEqual([true])
  expect(failed.map((run) => run === broken)).toEqual([true])
})
