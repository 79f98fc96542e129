// The addon through its public surface: results against golden files, each method while idle, busy and closed, and the
// endings that crash careless addons (worker termination, exit in mid-step, an engine left to the garbage collector).

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { llama } from '../../gpu-node/run/native/architecture/llama.ts'
import { type Engine, type EngineOptions, loadEngine, type StepBatch } from '../../gpu-node/run/native/engine.ts'
import { fingerprintOf } from '../../gpu-node/run/native/fingerprint.ts'
import { type Model, readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { type PackedRow, RowTable, unpackRows } from '../../gpu-node/run/native/row-table.ts'
import { testData } from '../support/data.ts'
import { draws } from '../support/draws.ts'
import { HANG_MS_MIN } from '../support/patience.ts'
import { seededRandom } from '../support/random.ts'
import type { LivesResult } from './engine-lives.ts'

const BLOCKS = 64
const addon_path = join(import.meta.dirname, '../../native/build/ziya.node')
const options: EngineOptions = { device: 'cpu', threads: 2, blocks: BLOCKS, batch_tokens_max: 128, sequences_max: 8 }

const golden = JSON.parse(readFileSync(testData('stories260K/golden.json'), 'utf8')) as {
  prompt_ids: number[]
  greedy_ids: number[]
  first_step_logits: number[]
}

interface Piece {
  tokens: number[]
  start: number
  blocks: number[]
}

const ints = (values: Iterable<number>) => Int32Array.from(values)
const range = (begin: number, end: number) => Array.from({ length: end - begin }, (_, i) => begin + i)
const loadStories = (model: Model, changes: Partial<EngineOptions> = {}) =>
  loadEngine(model.shape, model.tensors, { ...options, ...changes }, () => {})

const nothing = { begin: 0, count: 0 }
const greedyRow: Omit<PackedRow, 'token'> = {
  ...{ seed: 0n, counter: 0, temperature: 0, top_p: 1, min_p: 0, repetition_penalty: 1, frequency_penalty: 0 },
  ...{ presence_penalty: 0, top_k: 0, logprobs: -1, output_tokens: 0, scored: -1 },
  ...{ history: nothing, bias: nothing, banned: nothing, mask: nothing },
}

function packed(rows: PackedRow[]): Uint8Array {
  const table = new RowTable(rows.length)
  for (const [i, row] of rows.entries()) table.set(i, row)
  return table.bytes
}

/** Greedy, but for the changes; the last token's row of each piece. */
function greedyBatch(pieces: Piece[], want_logits = false, changes: Partial<PackedRow> = {}): StepBatch {
  const counts = pieces.map(({ tokens }) => tokens.length)
  const rows = counts.map((_, s) => counts.slice(0, s + 1).reduce((a, b) => a + b) - 1)
  return {
    tokens: ints(pieces.flatMap(({ tokens }) => tokens)),
    token_counts: ints(counts),
    starts: ints(pieces.map(({ start }) => start)),
    block_counts: ints(pieces.map(({ blocks }) => blocks.length)),
    block_tables: ints(pieces.flatMap(({ blocks }) => blocks)),
    adapters: ints([]),
    rows: packed(rows.map((token) => ({ ...greedyRow, token, ...changes }))),
    history: ints([]),
    bias_ids: ints([]),
    bias_values: new Float32Array(),
    banned_ids: ints([]),
    mask_words: ints([]),
    want_logits,
  }
}

const oneToken = () => greedyBatch([{ tokens: [1], start: 0, blocks: [0] }])
const manyTokens = () => greedyBatch([{ tokens: new Array(128).fill(5), start: 0, blocks: range(0, 8) }])
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof Error ? ((error as { code?: string }).code ?? error.name) : 'no error'),
  )

let model: Model
let engine: Engine

beforeAll(async () => {
  model = readModelFolder(testData('stories260K'))
  engine = await loadStories(model)
})

afterAll(() => engine.close())

describe.each(['auto', 'scalar'] as const)('stories260K on isa %s', (isa) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadStories(model, { isa })
  })
  afterAll(() => engine.close())

  test('the first step gives the golden logits', async () => {
    const batch = greedyBatch([{ tokens: golden.prompt_ids, start: 0, blocks: [3] }], true)
    const { logits } = await engine.step(batch)
    const errors = golden.first_step_logits.map((value, id) => Math.abs(value - logits![id]!))
    expect(Math.max(...errors)).toBeLessThan(1e-2)
  })

  test('greedy decoding gives the golden ids', async () => {
    const ids = [...golden.prompt_ids]
    while (ids.length < golden.greedy_ids.length) {
      const piece = { tokens: ids.slice(-1), start: ids.length - 1, blocks: range(0, 32).reverse() }
      ids.push((await engine.step(greedyBatch([piece]))).tokens[0]!)
    }
    expect(ids).toEqual(golden.greedy_ids)
  })

  test('a prompt in chunks, beside others, gives the same bytes as whole and alone', async () => {
    const tokens = golden.greedy_ids.slice(0, 100)
    const whole = await engine.step(greedyBatch([{ tokens, start: 0, blocks: range(0, 7) }], true))
    let last = new Float32Array()
    for (const [begin, end] of [
      [0, 1],
      [1, 17],
      [17, 60],
      [60, 100],
    ] as const) {
      const neighbour = { tokens: golden.greedy_ids.slice(0, end % 7), start: 0, blocks: [20] }
      const own = { tokens: tokens.slice(begin, end), start: begin, blocks: range(8, 15) }
      const { logits } = await engine.step(greedyBatch(neighbour.tokens.length > 0 ? [neighbour, own] : [own], true))
      last = logits!.slice(-model.shape.vocab_size)
    }
    expect(last).toEqual(whole.logits)
  })
})

describe('info and load', () => {
  test('info tells the device and sizes', () => {
    expect(engine.info.device).toMatch(/^cpu (avx512|avx2|scalar), 2 threads$/)
    expect(engine.info.parameters).toBeGreaterThan(260_000)
    expect(engine.info.weight_bytes).toBeGreaterThanOrEqual(engine.info.parameters * 2)
    const value_width = engine.info.device.includes('avx512') ? 16 : 8 // the 8 of a head, filled up to a vector
    const kv_bytes = BLOCKS * 16 * model.shape.layers * model.shape.kv_heads * (8 + value_width) * 2
    expect(engine.info.kv_bytes).toBe(kv_bytes)
  })

  test('a fingerprint names weights, arithmetic and machine code, and nothing else', async () => {
    const fingerprint = async (changes: Partial<EngineOptions>, tensors = model.tensors, shape = model.shape) => {
      const other = await loadEngine(shape, tensors, { ...options, ...changes }, () => {})
      await other.close()
      return fingerprintOf(shape, other.info)
    }
    const ours = fingerprintOf(model.shape, engine.info)
    expect(ours).toMatch(/^fp_[0-9a-f]{10}$/)
    expect(await fingerprint({ threads: 1 })).toBe(ours)
    const [first, second] = model.tensors.filter(({ slot }) => /^layer\.[01]\.down$/.test(slot))
    const swapped = model.tensors.map((tensor) =>
      tensor === first
        ? { ...second!, slot: first!.slot }
        : tensor === second
          ? { ...first!, slot: second!.slot }
          : tensor,
    )
    const others = [
      await fingerprint({ isa: 'scalar' }),
      await fingerprint({}, swapped),
      await fingerprint({ weights: 'fp8' }),
      await fingerprint({ tensor_parallel: 2 }),
      await fingerprint({ kv_cache: 'fp8' }),
      await fingerprint({ weights: 'fp8', kv_cache: 'fp8' }),
      await fingerprint({}, model.tensors, { ...model.shape, rms_norm_eps: 2e-5 }),
    ]
    expect(await fingerprint({ weights: 'fp16', kv_cache: 'fp16' })).toBe(ours)
    expect(await fingerprint({ tensor_parallel: 1 })).toBe(ours)
    expect(new Set([ours, ...others]).size).toBe(8)
  })

  test('what so many devices cannot share is refused by name', async () => {
    const refused = loadStories(model, { tensor_parallel: 3 })
    await expect(refused).rejects.toMatchObject({
      code: 'bad_shape',
      message: 'tensor_parallel 3: so many devices cannot share heads: 8',
    })
  })

  test('progress ends at the total', async () => {
    const seen: [number, number][] = []
    const other = await loadEngine(model.shape, model.tensors, options, (done, total) => seen.push([done, total]))
    const total = model.tensors.reduce((sum, { bytes }) => sum + bytes, 0)
    expect(seen.at(-1)).toEqual([total, total])
    await other.close()
  })

  test('a tensor that is missing', async () => {
    expect(await codeOf(loadEngine(model.shape, model.tensors.slice(1), options, () => {}))).toBe(
      'weights_missing_tensor',
    )
  })

  test('a file that is not there', async () => {
    const tensors = model.tensors.map((tensor) => ({ ...tensor, path: '/nowhere/model.safetensors' }))
    expect(await codeOf(loadEngine(model.shape, tensors, options, () => {}))).toBe('weights_read')
  })

  test('a shape that is none', async () => {
    expect(await codeOf(loadEngine({ ...model.shape, kv_heads: 3 }, model.tensors, options, () => {}))).toBe(
      'bad_shape',
    )
    expect(await codeOf(loadEngine({ ...model.shape, rope_theta: Number.NaN }, model.tensors, options, () => {}))).toBe(
      'bad_shape',
    )
  })

  test('a device that is not there', async () => {
    expect(await codeOf(loadStories(model, { device: 'cuda:99' }))).toBe('unsupported_device')
  })

  test.each([
    ['shape', [null, [], options, () => {}]],
    ['tensors', [{}, null, options, () => {}]],
    ['options', [{}, [], undefined, () => {}]],
    ['device', [{}, [], { ...options, device: 'gpu' }, () => {}]],
    ['isa', [{}, [], { ...options, isa: 'sse' }, () => {}]],
    ['weights', [{}, [], { ...options, weights: 'int4' }, () => {}]],
    ['threads', [{}, [], { ...options, threads: -1 }, () => {}]],
    ['blocks', [{}, [], { ...options, blocks: 1.5 }, () => {}]],
    ['batch_tokens_max', [{}, [], { ...options, batch_tokens_max: '1' }, () => {}]],
    ['on_progress', [{}, [], options, null]],
  ])('misuse of %s is a TypeError that names it', async (field, [shape, tensors, given, progress]) => {
    const load = loadEngine as (...args: unknown[]) => Promise<Engine>
    const call = load(shape === null ? null : model.shape, tensors, given, progress)
    await expect(call).rejects.toThrow(TypeError)
    await expect(call).rejects.toThrow(field)
  })

  test('an engine is not made with new', () => {
    const NativeEngine = engine.constructor as new () => Engine
    expect(() => new NativeEngine()).toThrow(TypeError)
  })
})

describe('step', () => {
  test('steps given at once come back in order', async () => {
    const order: number[] = []
    await Promise.all(range(0, 8).map(async (i) => order.push((await engine.step(oneToken())).tokens.length * i)))
    expect(order).toEqual(range(0, 8))
  })

  test('arrays may change once step has returned', async () => {
    const batch = oneToken()
    const step = engine.step(batch)
    batch.tokens.fill(-1)
    batch.block_tables.fill(999)
    await expect(step).resolves.toMatchObject({ logits: null })
  })

  test('the same seed and counter draw the same token in any company', async () => {
    const sampled = (pieces: Piece[], row: number) => {
      const batch = greedyBatch(pieces, false, { temperature: 1.5 })
      const rows = unpackRows(batch.rows)
      rows[row] = { ...rows[row]!, seed: 0xffff_ffff_ffff_ffffn, counter: 7 }
      return engine.step({ ...batch, rows: packed(rows) }).then(({ tokens }) => tokens[row])
    }
    const own = { tokens: golden.greedy_ids.slice(0, 9), start: 0, blocks: [1] }
    const other = (block: number) => ({ tokens: [block], start: 0, blocks: [block] })
    const alone = await sampled([own], 0)
    expect(await sampled([other(2), own], 1)).toBe(alone)
    expect(await sampled([other(5), other(6), own, other(7)], 2)).toBe(alone)
  })

  test('logprobs are those of the raw logits', async () => {
    const batch = greedyBatch([{ tokens: [1], start: 0, blocks: [0] }], true, { logprobs: 3 })
    const { tokens, logprobs, logits, top_ids, top_logprobs } = await engine.step(batch)
    const log_sum = Math.log(logits!.reduce((sum, logit) => sum + Math.exp(logit), 0))
    expect(top_ids).toHaveLength(20)
    expect(top_ids[0]).toBe(tokens[0])
    expect([...top_ids.slice(3)]).toEqual(new Array(17).fill(-1))
    expect(top_logprobs[0]).toBeCloseTo(logits![tokens[0]!]! - log_sum, 4)
    expect(logprobs[0]).toBeCloseTo(top_logprobs[0]!, 6)
  })

  test('a bad batch is refused by the name of its field, and the next step works', async () => {
    const bad = oneToken()
    bad.block_tables[0] = BLOCKS
    const step = engine.step(bad)
    expect(await codeOf(step)).toBe('bad_batch')
    await expect(step).rejects.toThrow('block_tables')
    expect(await codeOf(engine.step(oneToken()))).toBe('ok')
  })

  test('each array of another type is a TypeError that names it', async () => {
    const step = (batch: unknown) => (engine as { step(batch: unknown): Promise<unknown> }).step(batch)
    await expect(step(undefined)).rejects.toThrow(TypeError)
    for (const field of Object.keys(oneToken())) {
      for (const wrong of [undefined, [1], new Uint8Array(4), 'text']) {
        const call = step({ ...oneToken(), [field]: wrong })
        await expect(call).rejects.toThrow(TypeError)
        await expect(call).rejects.toThrow(field)
      }
    }
  })
})

describe('close', () => {
  test('closed while idle: later steps are refused, and closing again is no error', async () => {
    const other = await loadStories(model)
    await other.close()
    expect(await codeOf(other.step(oneToken()))).toBe('engine_closed')
    await other.close()
    expect(other.info.parameters).toBe(engine.info.parameters)
  })

  test('closed while busy: each waiting step ends or is refused', async () => {
    for (let round = 0; round < 20; round++) {
      const other = await loadStories(model)
      const steps = range(0, 4).map(() => codeOf(other.step(manyTokens())))
      const closed = other.close()
      steps.push(codeOf(other.step(oneToken())))
      const codes = await Promise.all(steps)
      await closed
      expect(codes.at(-1)).toBe('engine_closed')
      expect(codes.every((code) => code === 'ok' || code === 'engine_closed')).toBe(true)
    }
  })
})

describe('the end of a thread or process', () => {
  const program = `
    const { addon_path, shape, tensors, options, batch } = JSON.parse(process.env.ENGINE, (key, value) =>
      value?.typed ? new globalThis[value.typed](value.values.map((v) => value.typed === 'BigUint64Array' ? BigInt(v) : v)) : value)
    const { NativeEngine } = require(addon_path)
    NativeEngine.load(shape, tensors, options, () => {}).then(async (engine) => {
      if (process.env.MODE === 'idle') return
      setTimeout(() => process.exit(0), 2)
      for (;;) await engine.step(batch)
    })`
  const data = () => ({ addon_path, shape: model.shape, tensors: model.tensors, options, batch: manyTokens() })

  const runChild = (mode: string) => {
    const typed = (_: string, value: unknown) =>
      ArrayBuffer.isView(value)
        ? { typed: value.constructor.name, values: Array.from(value as Int32Array, String).map(Number) }
        : value
    const env = { ...process.env, MODE: mode, ENGINE: JSON.stringify(data(), typed) }
    return spawnSync(process.execPath, ['-e', program], { env, encoding: 'utf8', timeout: HANG_MS_MIN })
  }

  test('an idle engine does not keep the process', () => {
    expect(runChild('idle')).toMatchObject({ status: 0, stderr: '' })
  })

  test('a process may exit in mid-step', () => {
    for (let round = 0; round < 5; round++) expect(runChild('exit')).toMatchObject({ status: 0, stderr: '' })
  })

  const LIVES = draws('LIVES', { few: 100, all: 1000 })

  test(`${LIVES} engines that are made, aborted, closed, forgotten or ended with their thread leave nothing`, () => {
    const { seed } = seededRandom()
    const given = { model_dir: testData('stories260K'), seed, lives: 0.8 * LIVES, worker_lives: 0.2 * LIVES }
    const program = join(import.meta.dirname, 'engine-lives.ts')
    const child = spawnSync(process.execPath, ['--expose-gc', program, JSON.stringify(given)], {
      timeout: HANG_MS_MIN,
      encoding: 'utf8',
    })
    expect(child).toMatchObject({ status: 0, signal: null, stderr: '' })
    const { lives, threads, files, unexpected } = JSON.parse(child.stdout.trim().split('\n').at(-1)!) as LivesResult
    expect({ lives, unexpected }).toEqual({ lives: LIVES, unexpected: [] })
    expect(threads[1]).toBeLessThanOrEqual(threads[0])
    expect(files[1]).toBeLessThanOrEqual(files[0])
  })
})

describe('the event loop', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ziya-zero-weights-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Zero weights of a larger shape: a step of it takes tens of milliseconds. */
  async function loadLarge(): Promise<Engine> {
    const shape = { ...model.shape, hidden_size: 512, intermediate_size: 1536, layers: 8, heads: 8, kv_heads: 4 }
    const path = join(folder, 'zeros')
    writeFileSync(path, new Uint8Array(2 * 512 * 1536))
    const tensors = llama.tensorsOf(shape).map((tensor) => {
      const bytes = 2 * tensor.shape.reduce((a, b) => a * b)
      return { ...tensor, path, dtype: 'F16' as const, offset: 0, bytes }
    })
    return loadEngine(shape, tensors, options, () => {})
  }

  // A step takes tens of milliseconds. Were it run on the loop, the loop would make no turn meanwhile and its thread would spend that
  // time; neither measure is moved by whatever else the machine does.
  test('is not held up by steps', async () => {
    const large = await loadLarge()
    const before = process.threadCpuUsage()
    let step_seconds = 0
    let turns = 0
    const counting = setInterval(() => turns++, 1)
    for (let i = 0; i < 8; i++) step_seconds += (await large.step(manyTokens())).seconds
    clearInterval(counting)
    const { user, system } = process.threadCpuUsage(before)
    await large.close()
    expect((user + system) / 1e6).toBeLessThan(step_seconds * 0.3)
    expect(turns).toBeGreaterThan(8)
  })
})
