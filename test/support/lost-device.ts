// Loaded ahead of a node, by NODE_OPTIONS: its device fails at step LOST_AT_STEP and at all that come after.

import { createRequire } from 'node:module'
import type { Engine, StepBatch } from '../../gpu-node/run/native/engine.ts'

const addon = createRequire(import.meta.url)('../../native/build/ziya.node')
const { NativeEngine } = addon
const lost = Object.assign(new Error('the drawn tokens: unspecified launch failure'), { code: 'device_failed' })
let steps = 0

addon.NativeEngine = {
  load: async (...options: unknown[]): Promise<Engine> => {
    const engine: Engine = await NativeEngine.load(...options)
    return {
      info: engine.info,
      step: (batch: StepBatch) =>
        ++steps < Number(process.env.LOST_AT_STEP)
          ? engine.step(batch)
          : engine.step(batch).then(() => Promise.reject(lost)),
      close: () => engine.close(),
    }
  },
}
