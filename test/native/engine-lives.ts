// A program of its own: engines are made, stepped, aborted, closed, forgotten and torn down with their thread, in random
// states; in the end it counts what is left of them. Prints one line of JSON.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { BlockTables, buildBatch } from '../../gpu-node/run/native/batch.ts'
import { type Engine, type EngineOptions, loadEngine, type StepBatch } from '../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { seededRandom } from '../support/random.ts'
import { makeSequence } from '../support/sequences.ts'

export interface LivesOptions {
  model_dir: string
  seed: number
  lives: number // on the main thread
  worker_lives: number // workers, each of which lives on until it is ended
}

export interface LivesResult {
  lives: number
  ends: Record<string, number>
  threads: [before: number, after: number]
  files: [before: number, after: number]
  unexpected: string[]
}

const { model_dir, seed, lives, worker_lives } = JSON.parse(process.argv[2]!) as LivesOptions
const random = seededRandom(seed)
const model = readModelFolder(model_dir)
const limits: EngineOptions = { device: 'cpu', threads: 2, blocks: 16, batch_tokens_max: 128, sequences_max: 8 }
const addon_path = join(import.meta.dirname, '../../native/build/ziya.node')
const ends: Record<string, number> = {}
const unexpected: string[] = []

const tensors_elsewhere = model.tensors.map((tensor) => ({ ...tensor, path: '/nowhere' }))
const BAD_LOADS = [
  () => loadEngine(model.shape, model.tensors.slice(1), limits, () => {}),
  () => loadEngine(model.shape, tensors_elsewhere, limits, () => {}),
  () => loadEngine({ ...model.shape, kv_heads: 3 }, model.tensors, limits, () => {}),
  () => loadEngine(model.shape, model.tensors, { ...limits, device: 'cuda:99' }, () => {}),
]

const load = () => loadEngine(model.shape, model.tensors, { ...limits, threads: 1 + random.below(3) }, () => {})

/** Every way an engine's life may go. */
const LIVES: Record<string, () => Promise<unknown>> = {
  'no load': () =>
    expectCode(random.pick(BAD_LOADS)(), ['weights_missing_tensor', 'weights_read', 'bad_shape', 'unsupported_device']),
  'closed idle': async () => (await load()).close(),
  'closed busy': async () => {
    const engine = await load()
    const steps = stepsOf(engine, 1 + random.below(8))
    await pause()
    await Promise.all([engine.close(), ...steps])
  },
  'closed by many': async () => {
    const engine = await load()
    const steps = stepsOf(engine, random.below(3))
    await Promise.all([engine.close(), engine.close(), ...steps])
    await engine.close()
    await expectCode(engine.step(batch(4)), ['engine_closed'])
  },
  'given too much': async () => {
    const engine = await load()
    await Promise.all(stepsOf(engine, 20))
    await engine.close()
  },
  'given nonsense': async () => {
    const engine = await load()
    const bad = batch(4)
    bad.block_tables[0] = 999
    await Promise.all([expectCode(engine.step(bad), ['bad_batch']), ...stepsOf(engine, 2)])
    await engine.close()
  },
  'forgotten idle': () => load(),
  'forgotten busy': async () => void stepsOf(await load(), 4),
  'forgotten while loading': async () => void load(),
}

function batch(tokens: number): StepBatch {
  const sequence = makeSequence({ prompt: Array.from({ length: tokens }, (_, i) => 1 + (i % 50)) })
  sequence.blocks = Array.from({ length: Math.ceil(tokens / 16) }, (_, i) => i)
  return buildBatch([{ sequence, tokens, samples: true, scores: 0, draft: [] }], new BlockTables())
}

/** Steps under way at once; they end or are refused. */
function stepsOf(engine: Engine, count: number): Promise<unknown>[] {
  const step = () => expectCode(engine.step(batch(1 + random.below(128))), ['ok', 'engine_closed', 'bad_batch'])
  return Array.from({ length: count }, step)
}

async function expectCode(promise: Promise<unknown>, codes: string[]): Promise<void> {
  const code = await promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )
  if (!codes.includes(code)) unexpected.push(code)
}

async function pause(): Promise<void> {
  if (random.below(3) === 0) return
  await (random.below(2) === 0 ? turn() : sleep(random.below(4)))
}

async function oneLife(): Promise<void> {
  const [name, life] = random.pick(Object.entries(LIVES))
  ends[name] = (ends[name] ?? 0) + 1
  await life()
}

// Plain JavaScript, since compiling TypeScript is most of such a worker's life. What it was given, it does until it ends.
const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { addon_path, shape, tensors, limits, batches, choices, exit_ms } = workerData
  const { NativeEngine } = require(addon_path)
  let chosen = 0
  const chance = () => choices[chosen++ % choices.length]
  if (exit_ms !== null) setTimeout(() => process.exit(0), exit_ms)
  parentPort.postMessage('begun')
  const live = async () => {
    const loading = NativeEngine.load(shape, tensors, limits, () => {})
    if (chance() && chance()) return
    const engine = await loading
    const steps = batches.map((batch) => engine.step(batch).catch(() => {}))
    if (chance()) await steps[0]
    if (chance()) engine.close()
    if (chance()) await Promise.all(steps)
  }
  const liveOn = async () => { for (;;) await live() }
  void liveOn()`

/** A worker in which engines live one after the other until it ends, by itself or from outside. */
async function oneWorker(): Promise<void> {
  const exits = random.chance(0.25)
  const name = exits ? 'worker exits' : 'worker is terminated'
  ends[name] = (ends[name] ?? 0) + 1
  const { shape, tensors } = model
  const batches = Array.from({ length: random.below(5) }, () => batch(1 + random.below(128)))
  const choices = Array.from({ length: 37 }, () => random.chance(0.5))
  const given = { addon_path, shape, tensors, limits, batches, choices, exit_ms: exits ? random.below(25) : null }
  const worker = new Worker(WORKER, { eval: true, workerData: given, execArgv: [] })
  worker.on('error', (error) => unexpected.push(String(error)))
  const ended = new Promise((resolve) => worker.on('exit', resolve))
  await Promise.race([ended, new Promise((resolve) => worker.once('message', resolve))])
  await sleep(random.below(25))
  await worker.terminate()
  await ended
}

/** So many at a time, until `count` have been. */
async function inParallel(width: number, count: number, one: () => Promise<void>): Promise<void> {
  let left = count
  const lane = async () => {
    while (left-- > 0) {
      await one()
      if (left % 20 === 0) globalThis.gc!()
    }
  }
  await Promise.all(Array.from({ length: width }, lane))
}

const counts = () => ({ threads: readdirSync('/proc/self/task').length, files: readdirSync('/proc/self/fd').length })

/** Counts once the engines that nobody holds are collected: finalizers run in turns of their own, threads end in theirs. */
async function countsAfterAll(
  settled: (now: ReturnType<typeof counts>) => boolean,
): Promise<ReturnType<typeof counts>> {
  for (let tries = 0; tries < 500; tries++) {
    globalThis.gc!()
    await sleep(20)
    if (settled(counts())) break
  }
  return counts()
}

async function main(): Promise<LivesResult> {
  // What the runtime itself starts once and keeps is there before the first count.
  await Promise.all([inParallel(4, 20, oneLife), inParallel(4, 4, oneWorker)])
  for (const name of Object.keys(ends)) ends[name] = 0
  const none = await countsAfterAll(hasBeenStill)
  await Promise.all([inParallel(3, lives, oneLife), inParallel(4, worker_lives, oneWorker)])
  const left = await countsAfterAll(({ threads, files }) => threads <= none.threads && files <= none.files)
  return {
    lives: lives + worker_lives,
    ends,
    threads: [none.threads, left.threads],
    files: [none.files, left.files],
    unexpected,
  }
}

let still_for = 0
let threads_last = -1
function hasBeenStill({ threads }: ReturnType<typeof counts>): boolean {
  still_for = threads === threads_last ? still_for + 1 : 0
  threads_last = threads
  return still_for >= 10
}

console.log(JSON.stringify(await main()))
