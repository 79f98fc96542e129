// Loaded before a program (NODE_OPTIONS=--import): writes the delays of its event loop, in ms, to the file LOOP_DELAY_FILE
// when it gets SIGUSR2, and counts anew from there.

import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 1
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
process.on('SIGUSR2', () => {
  const ms = (percentile) => delay.percentile(percentile) / 1e6 - RESOLUTION_MS
  writeFileSync(
    process.env.LOOP_DELAY_FILE,
    JSON.stringify({ p50: ms(50), p90: ms(90), p99: ms(99), max: ms(100), count: delay.count }),
  )
  delay.reset()
})
