// What a long prompt does to the streams beside it: 16 sequences draw tokens, then a prompt of 8,192 tokens comes in. The real
// engine and step loop, without HTTP, over random weights of 120 M parameters with the context for it.
//   node bench/long-prompt.ts [--streams 16] [--prompt 8192] [--threads 2] [--size 120m]

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Generation } from '../gpu-node/answer/generation.ts'
import { loadEngine } from '../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../gpu-node/run/native/load/model-folder.ts'
import { NativeRun } from '../gpu-node/run/native/run.ts'
import { Scheduler } from '../gpu-node/run/native/scheduler.ts'
import { StepLoop } from '../gpu-node/run/native/step-loop.ts'
import { Detokenizer } from '../gpu-node/run/native/tokenizer/detokenizer.ts'
import { Streams } from '../gpu-node/serve/streams.ts'
import { promptOf } from './peers/contender.ts'
import { randomLlama, type Size } from './peers/random-llama.ts'
import { sequenceOf, streamRequest } from './requests.ts'

const CONTEXT = 16_384
const TOKENS_ALONE = 100 // of each stream before the prompt comes
const TOKENS_AFTER = 30

const { values: options } = parseArgs({
  options: {
    streams: { type: 'string', default: '16' },
    prompt: { type: 'string', default: '8192' },
    threads: { type: 'string', default: '2' },
    size: { type: 'string', default: '120m' },
  },
})
const [streams_count, prompt_tokens] = [Number(options.streams), Number(options.prompt)]

const model = readModelFolder(randomLlama(options.size as Size, join(import.meta.dirname, '../.local/bench'), CONTEXT))
const limits = { blocks: 4096, batch_tokens_max: 512, sequences_max: 64, waiting_max: 64 }
const engine_options = { ...limits, device: 'cpu' as const, threads: Number(options.threads) }
const engine = await loadEngine(model.shape, model.tensors, engine_options, () => {})
const scheduler = new Scheduler({ ...limits, speculation: 'prompt-lookup' })
const loop = new StepLoop({ engine, scheduler, looks_ahead: false })
const streams = new Streams({
  journal: { step: () => {}, is_written: true, written: async () => {} },
  metrics: { step: () => {}, ended: () => {} },
  on_finished: () => {},
  whenSettled: async () => {},
  on_failed: (error) => {
    throw error
  },
})
loop.open(streams)

const running: { generation: Generation; times: number[] }[] = []
let came_at = Number.POSITIVE_INFINITY
let drawn_at = Number.POSITIVE_INFINITY

for (let i = 0; i < streams_count; i++) startStream(i)
await streams.whenIdle()
report()
await engine.close()

function startStream(salt: number): void {
  const times: number[] = []
  const generation = generationOf(promptOf(64, salt), CONTEXT - 64)
  running.push({ generation, times })
  const write = () => {
    times.push(performance.now())
    if (running.every((stream) => stream.times.length >= TOKENS_ALONE) && came_at === Number.POSITIVE_INFINITY) comeIn()
    const after = times.filter((time) => time > drawn_at).length
    if (after >= TOKENS_AFTER) queueMicrotask(() => streams.stopAll('deadline'))
  }
  streams.start(generation, { delivered_tokens: 0, write, end: () => {} })
}

function comeIn(): void {
  came_at = performance.now()
  const draw = () => {
    drawn_at = Math.min(drawn_at, performance.now())
  }
  streams.start(generationOf(promptOf(prompt_tokens, 999), 1), { delivered_tokens: 0, write: draw, end: draw })
}

function generationOf(prompt: number[], output_tokens_max: number): Generation {
  const sequence = sequenceOf({ prompt, output_tokens_max })
  const request = streamRequest()
  const run = new NativeRun(request, [{ sequence, detokenizer: new Detokenizer(model.tokenizer), echo: '' }], loop)
  return new Generation({ ticket: '', attempt: 1, request, run })
}

function report(): void {
  const gaps = running.flatMap(({ times }) => times.slice(1).map((to, i) => ({ from: times[i]!, ms: to - times[i]! })))
  const alone = gaps.filter(({ from, ms }) => from + ms < came_at).map(({ ms }) => ms)
  const beside = gaps.filter(({ from, ms }) => from + ms >= came_at && from < drawn_at).map(({ ms }) => ms)
  const [median_alone, median_beside, max_beside] = [at(alone, 0.5), at(beside, 0.5), at(beside, 1)]
  console.log(
    JSON.stringify({
      prompt_s: round((drawn_at - came_at) / 1000),
      gaps_beside: beside.length,
      median_alone_ms: round(median_alone),
      max_alone_ms: round(at(alone, 1)),
      median_beside_ms: round(median_beside),
      p99_beside_ms: round(at(beside, 0.99)),
      max_beside_ms: round(max_beside),
      max_by_median: round(max_beside / at([...alone, ...beside], 0.5)),
      max_by_median_alone: round(max_beside / median_alone),
    }),
  )
}

function at(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)]!
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
