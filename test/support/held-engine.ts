// Loaded ahead of a node, by NODE_OPTIONS: its engine begins as many steps as the file STEPS_FILE allows (held-steps.ts).

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine, StepBatch } from '../../gpu-node/run/native/engine.ts'

const addon = createRequire(import.meta.url)('../../native/build/ziya.node')
const { NativeEngine } = addon
let allowance = ''
let steps_left = Number.POSITIVE_INFINITY
let begun: Promise<void> = Promise.resolve()

/** One after the other, in the order in which they were given. */
function mayBegin(): Promise<void> {
  begun = begun.then(async () => {
    while (!takeOne()) await sleep(5)
  })
  return begun
}

function takeOne(): boolean {
  const text = readFileSync(process.env.STEPS_FILE!, 'utf8')
  const [, steps] = text.split(' ')
  if (!steps) return false // it is just being written
  if (text !== allowance) steps_left = steps === 'all' ? Number.POSITIVE_INFINITY : Number(steps)
  allowance = text
  return --steps_left >= 0
}

addon.NativeEngine = {
  load: async (...options: unknown[]): Promise<Engine> => {
    const engine: Engine = await NativeEngine.load(...options)
    return {
      info: engine.info,
      step: async (batch: StepBatch) => {
        const own = structuredClone(batch) // the caller's arrays may change once it has returned
        await mayBegin()
        return engine.step(own)
      },
      close: () => engine.close(),
    }
  },
}
