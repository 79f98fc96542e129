// What the scheduler itself takes of a step: 256 streams of about 1,000 tokens each that draw one token a step, with a fake
// engine. The median by the clock; and the mean by this thread's CPU time, which a busy machine changes little.
// `node bench/scheduler.ts [SEQUENCES]`

import type { StepResult } from '../gpu-node/run/native/engine.ts'
import { Scheduler } from '../gpu-node/run/native/scheduler.ts'
import { greedy, sequenceOf } from './requests.ts'

const SEQUENCES = Number(process.argv[2] ?? 256)
const PROMPT_TOKENS = 1000
const STEPS = 400

const scheduler = new Scheduler({
  blocks: 32_768,
  batch_tokens_max: 8192,
  sequences_max: SEQUENCES,
  waiting_max: SEQUENCES,
  speculation: 'prompt-lookup',
})
for (let i = 0; i < SEQUENCES; i++) {
  scheduler.submit(
    sequenceOf({
      prompt: Array.from({ length: PROMPT_TOKENS }, (_, k) => 3 + ((i * 7919 + k * 31) % 30_000)),
      output_tokens_max: 4 * STEPS,
      stop_ids: new Set([2]),
      sampling: { ...greedy, temperature: 1, top_p: 0.85, seed: BigInt(i) },
      priority: i % 4 === 0 ? 'batch' : 'interactive',
      cache_salt: 'one',
    }),
  )
}

const cost = { step_ms: 16, token_ms: 0.08 }
let cpu_begun = process.threadCpuUsage()
const times_ms: number[] = []
while (times_ms.length < STEPS) {
  const begun = performance.now()
  const step = scheduler.schedule(cost)!
  const scheduled = performance.now()
  const tokens = Int32Array.from({ length: step.parts.length }, (_, row) => 3 + ((row * 31 + times_ms.length) % 30_000)) // the engine's
  const drawn = performance.now()
  scheduler.apply(step, { tokens } as StepResult)
  const ms = performance.now() - drawn + (scheduled - begun)
  if (step.batch.tokens.length > SEQUENCES)
    cpu_begun = process.threadCpuUsage() // prompts, yet
  else times_ms.push(ms)
}
const cpu = process.threadCpuUsage(cpu_begun)
const sorted = times_ms.toSorted((a, b) => a - b)
const at = (share: number) => sorted[Math.floor(share * STEPS)]!
console.log(
  JSON.stringify({
    sequences: SEQUENCES,
    median_ms: at(0.5),
    p99_ms: at(0.99),
    cpu_mean_ms: (cpu.user + cpu.system) / 1000 / STEPS,
  }),
)
