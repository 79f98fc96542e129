// Loaded before a program (NODE_OPTIONS=--import): writes the delays of its event loop, in ms, to the file LOOP_DELAY_FILE
// when it gets SIGUSR2, and counts anew from there. Beside the delays by the clock, what its own thread computed from one
// timer to the next: of a delay, the part that is the program's and not of who else runs on the machine.

import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 1
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
let turns_ms = []
let last_us = cpu_us()
setInterval(() => {
  const now_us = cpu_us()
  turns_ms.push((now_us - last_us) / 1000)
  last_us = now_us
}, RESOLUTION_MS).unref()

process.on('SIGUSR2', () => {
  const ms = (percentile) => delay.percentile(percentile) / 1e6 - RESOLUTION_MS
  const own = turns_ms.toSorted((a, b) => a - b)
  const own_p99 = own[Math.floor(0.99 * own.length)]
  writeFileSync(
    process.env.LOOP_DELAY_FILE,
    JSON.stringify({ p50: ms(50), p90: ms(90), p99: ms(99), max: ms(100), count: delay.count, own_p99 }),
  )
  delay.reset()
  turns_ms = []
})

function cpu_us() {
  const { user, system } = process.threadCpuUsage()
  return user + system
}
