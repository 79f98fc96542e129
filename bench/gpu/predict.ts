// A model of the machine: how long each kernel takes by what it moves, multiplies and waits for, from the tiles, stages and grids that its
// source says, and so how fast whole steps of the 34B are. Nothing here is measured; what a GPU then measures beside it (gpu-check.sh) shows
// which of the assumptions below is wrong.
// usage: node bench/gpu/predict.ts [--write: bench/gpu/predicted.json, and the table in bench/NOTES.md]

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Machine {
  name: string
  multiprocessors: number
  dram_tb_per_s: number // that a kernel reads
  memory_gib: number
}

// Both are GH100 with 132 multiprocessors; their memory differs.
export const h200: Machine = { name: 'H200', multiprocessors: 132, dram_tb_per_s: 4.35, memory_gib: 139 }
export const h100: Machine = { name: 'H100', multiprocessors: 132, dram_tb_per_s: 3.0, memory_gib: 78 }

// What is assumed of either. A published product of 8192 x 8192 x 8192 on 128 of an H100's multiprocessors (github.com/pranjalssh/fast.cu) reaches
// 777 TFLOP/s with 192 x 192 tiles of 48 KB a stage, where L2 is the limit, and 799 with our tiles and clusters, where power is.
const l2_to_sm_gb_per_s = 63 // a multiprocessor: 777.5e12 / 128 / 4.72e6 FLOP a stage x 48 KB
const tensor_tflops = 6.37 // a multiprocessor: 799e12 / 128, of which its epilogue takes 2 %
const conversions_a_cycle = 64 // a multiprocessor, of two codes of fp8 to halves: CUDA's table of throughputs, "all other type conversions"
const tensor_smallest_cycles = 16 // of a wgmma, which reads 64 x 16 weights however few columns there are
const clock_ghz = 1.7
const l2_wait_us = 0.33 // a read that waits for the one before
const handover_us = 0.8 // from a kernel's last write to the first use of it by the next, which has begun early
// Of devices that compute together. Kernels that wait for each other themselves take 3.7 to 5.9 us for 4 KB of each of 2 to 8 H100s
// (github.com/sgl-project/sglang/pull/2904); what an event takes from one device to another was not found.
const peer_gb_per_s = 360 // that a device reads of others: 80 % of the 450 of NVLink 4
const handover_alone_us = 1.8 // where the next does not begin early, as in a recording of several devices: 2.5 % of a step, over its launches
const event_us = 5 // from a record on one device to the first use of what it stands for on another
const launch_us = 2.5 // of the host's time, a kernel
const event_call_us = 0.7 // of the host's time, a record or a wait
const warp_instructions_a_cycle = 0.5 // of one warp alone on its scheduler
const scheduler_instructions_a_cycle = 0.7 // of two
const registers_a_multiprocessor = 65_536
const shared_a_multiprocessor = 228 << 10

// Of heads of 128: the loop over tiles, as test/native/machine-code.test.ts counts it in the disassembly.
export const narrow_tile_instructions = { fp16: 1027, fp8: 1360 }
export const wide_tile_instructions = { fp16: 868, fp8: 932 }

const kernels = join(import.meta.dirname, '../../native/kernels')
const reports = join(import.meta.dirname, '../../native/build/kernels/cuda')
export const predicted_file = join(import.meta.dirname, 'predicted.json')

export type Format = 'fp16' | 'fp8'

/** Kernels whose registers decide how many of their blocks a multiprocessor has: where the assembler's report names them. */
const hot_kernels = {
  'attention, narrow': ['tiled_attention', 'attention_kernel.*6__halfLi128ELi1E'],
  'attention, narrow, fp8 cache': ['tiled_attention', 'attention_kernel.*ShapeIhLi128ELi1E'],
  'attention, wide': ['tiled_attention', 'attention_kernel.*6__halfLi128ELi8E'],
  'attention, wide, fp8 cache': ['tiled_attention', 'attention_kernel.*ShapeIhLi128ELi8E'],
  'gemm of 256 rows': ['gemm', 'gemm_kernel.*Li256E'],
  'gemm of 256 rows, fp8 weights': ['gemm_fp8', 'gemm_kernel.*Li256E'],
  'gemm of a prompt': ['prefill_gemm', 'prefill_gemm_kernel'],
} as const
type Hot = keyof typeof hot_kernels

interface Resources {
  registers: number // of a thread
  static_shared: number // bytes; what is dynamic, and so nearly all, its launcher says
}

/** As ptxas said of the objects that were built for sm_90a (or cuobjdump -res-usage of them); where there are none, as predicted.json has them. */
function resourcesOf(name: Hot): Resources {
  const [source, kernel] = hot_kernels[name]
  const report = join(reports, `${source}.ptxas.txt`)
  if (!existsSync(report)) return writtenResources(name)
  const of_kernel = new RegExp(`entry function '\\S*${kernel}\\S*' for 'sm_90a'[^]*?Used (\\d+) registers(.*)`)
  const [, registers, more] = of_kernel.exec(readFileSync(report, 'utf8')) ?? []
  if (registers === undefined) throw new Error(`${report} has no ${kernel}`)
  return { registers: Number(registers), static_shared: Number(/(\d+) bytes smem/.exec(more!)?.[1] ?? 0) }
}

function writtenResources(name: Hot): Resources {
  const written = JSON.parse(readFileSync(predicted_file, 'utf8')) as Prediction[]
  const of = (figure: string) => written.find((row) => row.what === name && row.figure === figure)!.value
  return { registers: of('registers'), static_shared: of('static_shared_bytes') }
}

export const resources_are_of_objects = existsSync(join(reports, 'tiled_attention.ptxas.txt'))
const resources = Object.fromEntries(
  (Object.keys(hot_kernels) as Hot[]).map((name) => [name, resourcesOf(name)]),
) as Record<Hot, Resources>

/** Blocks of a kernel that a multiprocessor has place for at once. */
function residentBlocks(name: Hot, threads: number, dynamic_shared: number): number {
  const { registers, static_shared } = resources[name]
  const by_registers = registers_a_multiprocessor / (Math.ceil(registers / 8) * 8 * threads)
  const by_shared = shared_a_multiprocessor / (dynamic_shared + static_shared + 1024) // the driver's own
  return Math.floor(Math.min(by_registers, by_shared))
}

/** A `constexpr int` of a source file, which may be said by numbers and by such constants of the same and of other files. */
function constant(file: string, name: string, known: Record<string, number> = {}): number {
  const text = readFileSync(join(kernels, file), 'utf8')
  const said = new RegExp(`constexpr int (?:\\w+ = [^,;]+, )*${name} = ([^,;]+)[,;]`).exec(text)?.[1]
  if (said === undefined) throw new Error(`${file} has no ${name}`)
  const numbers = said.replace(/[a-z_]\w*/g, (word) => String(known[word] ?? constant(file, word, known)))
  if (!/^[\d\s()*/+<-]+$/.test(numbers)) throw new Error(`${file}: ${name} = ${said}`)
  return Number(new Function(`return ${numbers}`)())
}

const tile_rows = constant('cuda/layout.h', 'tile_rows')
const tile_inputs = constant('cuda/layout.h', 'tile_inputs')
const stage_tiles = constant('cuda/layout.h', 'stage_tiles')
const groups = constant('cuda/gemm_stripes.h', 'groups')
const gemm_rows_max = constant('cuda/layout.h', 'gemm_rows_max')
const stored_tokens = constant('cuda/gemm_pipeline.h', 'stored_tokens_max')
const loads_in_flight = constant('cuda/prefill_gemm.cu', 'loads_in_flight')
const cluster = constant('cuda/prefill_gemm.cu', 'cluster')
const prefill_stages = constant('cuda/prefill_gemm.cu', 'stages')
const prefill_tokens = constant('cuda/prefill_gemm.cu', 'tile_tokens', { gemm_rows_max })
const split_positions = constant('cuda/step_view.h', 'split_positions')
const tile_positions = constant('cuda/tiled_attention.cu', 'tile_positions')
const attention_stages = constant('cuda/tiled_attention.cu', 'ring_stages')
const shrink_threads = constant('cuda/adapters.cu', 'shrink_threads', { warp_size: 32 })
const unit_halves = constant('cuda/layout.h', 'unit_halves')
const half_bytes = 2
const float_bytes = 4

export interface Product {
  name: string
  outputs: number
  inputs: number
  adds: boolean
}

const hidden = 8192
const intermediate = 22016
const heads = 64
const kv_heads = 8
const head_size = 128
const vocab = 32000
const layers = 48
const block_tokens = 16

export const products: Product[] = [
  { name: 'qkv', outputs: (heads + 2 * kv_heads) * head_size, inputs: hidden, adds: false },
  { name: 'attention_out', outputs: hidden, inputs: heads * head_size, adds: true },
  { name: 'gate_up', outputs: 2 * intermediate, inputs: hidden, adds: false },
  { name: 'down', outputs: hidden, inputs: intermediate, adds: true },
]
const head: Product = { name: 'logits', outputs: vocab, inputs: hidden, adds: false }

export type Weights = Format // of the layers' products; the head is fp16

const weightBytes = ({ outputs, inputs }: Product, weights: Weights) =>
  weights === 'fp8' ? outputs * inputs + float_bytes * outputs : half_bytes * outputs * inputs
export const bucketOf = (rows: number) =>
  rows <= 8 ? 8 : rows <= 16 ? 16 : Math.min(Math.ceil(rows / 32) * 32, gemm_rows_max)

/** What one of so many devices has of it. What it adds are parts, which it stores. */
const ofRank = (product: Product, ranks: number): Product =>
  ranks === 1
    ? product
    : product.adds
      ? { ...product, inputs: product.inputs / ranks, adds: false }
      : { ...product, outputs: product.outputs / ranks }

/** The cuts of K that gemm.cu's stripes make in an output tile, on average. */
function cutsATile({ outputs, inputs }: Product, { multiprocessors }: Machine): number {
  const pairs = Math.ceil(outputs / tile_rows / groups)
  return Math.min(multiprocessors, (pairs * inputs) / tile_inputs / stage_tiles) / pairs
}

/** One launch of gemm.cu or gemm_fp8.cu, and what bounds it. */
export function gemmUs(
  product: Product,
  rows: number,
  machine: Machine,
  weights: Weights = 'fp16',
): { us: number; bound: string } {
  const n = bucketOf(rows)
  const bytes = weightBytes(product, weights)
  const dram = bytes / machine.dram_tb_per_s / 1e6
  // Inputs pass once for each pair of row tiles.
  const l2_bytes = bytes + (half_bytes * product.outputs * product.inputs * n) / (tile_rows * groups)
  const l2 = l2_bytes / machine.multiprocessors / l2_to_sm_gb_per_s / 1e3
  const wgmma_cycles = Math.max(n / 2, tensor_smallest_cycles)
  const wgmmas = (product.outputs / tile_rows) * (product.inputs / 16)
  const tensor = (wgmmas * wgmma_cycles) / machine.multiprocessors / clock_ghz / 1e3
  const conversions = weights === 'fp8' ? (product.outputs * product.inputs) / 2 : 0
  const converted = conversions / machine.multiprocessors / conversions_a_cycle / clock_ghz / 1e3
  const bounds = { DRAM: dram, L2: l2, tensor, conversion: converted }
  const us = Math.max(...Object.values(bounds))
  const bound = Object.entries(bounds).find(([, value]) => value === us)![0]
  return { us: us + gemmEndUs(product, n), bound }
}

/** After the last product: the parts of cut tiles are left, counted and added, and the tile is stored. */
function gemmEndUs(product: Product, n: number): number {
  const part_bytes = tile_rows * groups * n * float_bytes
  const parts = (3 * part_bytes) / l2_to_sm_gb_per_s / 1e3 + 4 * l2_wait_us
  const stores = Math.ceil(n / stored_tokens) * (product.adds ? l2_wait_us + 0.1 : 0.1)
  return parts + stores
}

/** One launch of prefill_gemm.cu. */
export function prefillUs(product: Product, tokens: number, machine: Machine, blocks_a_cluster = cluster): number {
  const tiles = Math.ceil(tokens / prefill_tokens) * Math.ceil(product.outputs / tile_rows / groups / blocks_a_cluster)
  const waves = Math.ceil(tiles / Math.floor(machine.multiprocessors / blocks_a_cluster))
  const rows = tile_rows * groups
  const bytes = half_bytes * tile_inputs * (rows + prefill_tokens / blocks_a_cluster)
  const flop = 2 * rows * prefill_tokens * tile_inputs
  const tensor = flop / tensor_tflops / 1e6
  const stage = Math.max(tensor, bytes / l2_to_sm_gb_per_s / 1e3)
  // One warpgroup goes on alone while the other stores, until the ring is empty for it.
  const hidden_us = (prefill_stages * tensor) / 2
  const sums = prefill_tokens / 2 // of a thread
  const read = Math.ceil(sums / loads_in_flight) * l2_wait_us * 1.3
  const write = (sums * float_bytes * 128 * groups) / 64 / clock_ghz / 1e3
  const cuts = cutsATile(product, machine)
  const parts = cuts * write + Math.max(cuts - 1, 0) * (read + write) + Math.min(cuts, 1) * read
  const stored = (prefill_tokens / stored_tokens) * (product.adds ? l2_wait_us * 1.3 : 0.25)
  const end = parts + stored
  return waves * ((product.inputs / tile_inputs) * stage + Math.max(end - hidden_us * (1 + cuts), 0))
}

/** Of a token's keys and values of one KV head. */
const headBytes = (kv_cache: Format) => 2 * (kv_cache === 'fp8' ? head_size + half_bytes : head_size * half_bytes)

/** Attention of so many decoding sequences, its splits' results merged. */
function narrowAttentionUs(
  sequences: number,
  context: number,
  machine: Machine,
  kv_cache: Format,
  ranks: number,
): number {
  const shared_bytes = attention_stages * tile_positions * headBytes(kv_cache) + (head_size / 16) * 4 * 32 * float_bytes
  const name = kv_cache === 'fp8' ? 'attention, narrow, fp8 cache' : 'attention, narrow'
  const resident_blocks = residentBlocks(name, 32, shared_bytes)
  const resident = resident_blocks * machine.multiprocessors
  const splits = Math.ceil(context / split_positions)
  const items = (sequences * kv_heads * splits) / ranks
  const tiles = Math.min(context, split_positions) / tile_positions
  const rate = Math.min(warp_instructions_a_cycle, (4 * scheduler_instructions_a_cycle) / resident_blocks)
  const item = (tiles * narrow_tile_instructions[kv_cache]) / rate / clock_ghz / 1e3 + 2 * l2_wait_us
  const bytes = (sequences * context * kv_heads * headBytes(kv_cache)) / ranks
  const whole = Math.floor(items / resident) * resident
  const full = Math.max(((bytes / items) * whole) / machine.dram_tb_per_s / 1e6, (whole / resident) * item)
  const merged =
    (sequences * heads * splits * head_size * float_bytes) / ranks / machine.multiprocessors / l2_to_sm_gb_per_s / 1e3
  return full + (items > whole ? item : 0) + Math.ceil(splits / 2) * l2_wait_us + merged
}

/** Attention of a prompt: 16 tokens of 8 heads a block of 8 warps, two a scheduler. */
function wideAttentionUs(tokens: number, machine: Machine, kv_cache: Format): number {
  const items = Math.ceil(tokens / 16) * kv_heads
  const warp_tiles = items * 8 * ((tokens + tile_positions) / 2 / tile_positions)
  return (
    (warp_tiles * wide_tile_instructions[kv_cache]) /
    machine.multiprocessors /
    4 /
    scheduler_instructions_a_cycle /
    clock_ghz /
    1e3
  )
}

/** What is read and written once by kernels that do nothing else: two norms and the rotation. */
function smallUs(tokens: number, machine: Machine, ranks: number): number {
  const norm = tokens * hidden * (float_bytes + half_bytes)
  const rope = (tokens * (heads + 2 * kv_heads) * head_size * float_bytes * 2) / ranks
  return (2 * norm + rope) / machine.dram_tb_per_s / 1e6 + 7 * l2_wait_us
}

/** One sum of what so many devices have computed: each reads the parts of all others where they are. */
export function sumUs(tokens: number, ranks: number, machine: Machine): number {
  if (ranks === 1) return 0
  const part = tokens * hidden * float_bytes
  return event_us + ((ranks - 1) * part) / peer_gb_per_s / 1e3 + (3 * part) / machine.dram_tb_per_s / 1e6 + l2_wait_us
}

/** What the host takes to enqueue a step of several devices that is not recorded: the launches of a layer, two sums, and what orders these. */
function hostUs(ranks: number): number {
  return ranks === 1 ? 0 : layers * ranks * ((launches_a_layer + 2) * launch_us + 2 * (1 + ranks) * event_call_us)
}

export interface Adapters {
  count: number // of a step
  rank: number
}

const parts_of: Record<string, number> = { qkv: 3, gate_up: 2 } // modules of one product; else 1

/** The two launches behind a product that adapters add to: A and B pass from memory once, outputs are read and written in the L2 cache. */
function adaptersUs(product: Product, sequences: number, { count, rank }: Adapters, machine: Machine): number {
  const parts = parts_of[product.name] ?? 1
  const weights = half_bytes * count * rank * (parts * product.inputs + product.outputs)
  const outputs = 2 * float_bytes * sequences * product.outputs
  const waits = product.inputs / shrink_threads / unit_halves + rank / unit_halves + 4
  const moved = weights / machine.dram_tb_per_s / 1e6 + outputs / machine.multiprocessors / l2_to_sm_gb_per_s / 1e3
  return moved + waits * l2_wait_us + 2 * handover_us
}

/** Gate and up are stored, and read again by a kernel of their own. */
function apartUs(sequences: number, machine: Machine): number {
  const bytes = 2 * float_bytes * sequences * 2 * intermediate
  return bytes / machine.multiprocessors / l2_to_sm_gb_per_s / 1e3 + l2_wait_us + handover_us
}

const launches_a_layer = 9
const sampling_us = 60
const between_steps_us = 10

/** The seconds of a decode step of so many sequences. */
export function decodeSeconds(
  sequences: number,
  context: number,
  machine: Machine,
  {
    adapters,
    weights = 'fp16',
    kv_cache = 'fp16',
    ranks = 1,
  }: { adapters?: Adapters; weights?: Weights; kv_cache?: Format; ranks?: number } = {},
): number {
  const layer =
    products.reduce((sum, product) => sum + gemmUs(ofRank(product, ranks), sequences, machine, weights).us, 0) +
    narrowAttentionUs(sequences, context, machine, kv_cache, ranks) +
    smallUs(sequences, machine, ranks) +
    2 * sumUs(sequences, ranks, machine) +
    launches_a_layer * (ranks > 1 ? handover_alone_us : handover_us) +
    (adapters
      ? products.reduce(
          (sum, product) => sum + adaptersUs(product, sequences, adapters, machine),
          apartUs(sequences, machine),
        )
      : 0)
  const logits = Math.ceil(sequences / 64) * gemmUs(ofRank(head, ranks), Math.min(sequences, 64), machine).us
  return (layers * layer + logits + sampling_us + between_steps_us) * 1e-6
}

interface PromptOptions {
  blocks_a_cluster?: number
  weights?: Weights
  kv_cache?: Format
  ranks?: number
}

/** The seconds of a step that is one prompt. fp8 weights have the decode product alone, which takes 256 rows at a time. */
export function promptSeconds(
  tokens: number,
  machine: Machine,
  { blocks_a_cluster = cluster, weights = 'fp16', kv_cache = 'fp16', ranks = 1 }: PromptOptions = {},
): number {
  const productUs = (product: Product) =>
    weights === 'fp8'
      ? Math.ceil(tokens / gemm_rows_max) * gemmUs(ofRank(product, ranks), gemm_rows_max, machine, weights).us
      : prefillUs(ofRank(product, ranks), tokens, machine, blocks_a_cluster)
  const layer =
    products.reduce((sum, product) => sum + productUs(product), 0) +
    wideAttentionUs(tokens, machine, kv_cache) / ranks +
    smallUs(tokens, machine, ranks) +
    2 * sumUs(tokens, ranks, machine) +
    launches_a_layer * handover_us
  return Math.max(layers * layer + gemmUs(ofRank(head, ranks), 1, machine).us + sampling_us, hostUs(ranks)) * 1e-6
}

export interface Formats {
  weights?: Weights
  kv_cache?: Format
}

/** Requests of `tokens` in and as many out, as many at once as the memory holds; each step brings as many prompt tokens as it generates. */
export function throughput(
  tokens: number,
  machine: Machine,
  formats: Formats = {},
): { at_once: number; tok_per_s: number } {
  const { weights = 'fp16', kv_cache = 'fp16' } = formats
  const of_layers = layers * products.reduce((sum, product) => sum + weightBytes(product, weights), 0)
  const left = 0.92 * machine.memory_gib * 2 ** 30 - of_layers - 2 * half_bytes * vocab * hidden
  const block_bytes = headBytes(kv_cache) * block_tokens * layers * kv_heads
  const at_once = Math.min(Math.floor(left / block_bytes / (Math.floor((2 * tokens) / block_tokens) + 1)), 256)
  const prompt = (promptSeconds(2048, machine, formats) / 2048) * at_once
  return { at_once, tok_per_s: at_once / (decodeSeconds(at_once, 1.5 * tokens, machine, formats) + prompt) }
}

export interface Prediction {
  part: string
  what?: string
  rows?: number
  sequences?: number
  context?: number
  tokens?: number
  layers?: number
  weights?: Weights
  kv_cache?: Format
  tensor_parallel?: number
  figure: string
  value: number
}

/** In the words of gpu-bench's measurements, so that table.py finds each one's. */
export function predictions(machine: Machine): Prediction[] {
  const round = (value: number, digits = 4) => Number(value.toPrecision(digits))
  const alone = [...products, head].flatMap((product) =>
    [1, 8, 32, 64, 96, 128, 192, 256, 2048].map((rows) => ({
      part: 'gemm',
      what: product.name,
      rows,
      figure: 'us',
      value: round(rows === 2048 ? prefillUs(product, rows, machine) : gemmUs(product, rows, machine).us),
    })),
  )
  const decodes = [
    [1, 2048],
    [8, 2048],
    [32, 2048],
    [128, 2048],
    [1, 8192],
    [128, 512],
  ].map(([sequences, context]) => ({
    part: 'decode',
    sequences: sequences!,
    context: context!,
    layers,
    figure: 'tok_per_s_ahead',
    value: round(sequences! / decodeSeconds(sequences!, context!, machine)),
  }))
  const prompts = [512, 2048].map((tokens) => ({
    part: 'prefill',
    tokens,
    layers,
    figure: 'ms',
    value: round(1e3 * promptSeconds(tokens, machine)),
  }))
  const whole = {
    part: 'throughput',
    layers,
    figure: 'output_tok_per_s',
    value: round(throughput(1000, machine).tok_per_s),
  }
  const ceilings = [
    { part: 'bandwidth', what: 'read', figure: 'tb_per_s', value: machine.dram_tb_per_s },
    {
      part: 'bandwidth',
      what: 'l2_to_sm',
      figure: 'tb_per_s',
      value: round((l2_to_sm_gb_per_s * machine.multiprocessors) / 1e3),
    },
    { part: 'bandwidth', what: 'l2_wait', figure: 'ns', value: 1e3 * l2_wait_us },
  ]
  const of_kernels = (Object.keys(hot_kernels) as Hot[]).flatMap((what) => [
    { part: 'kernel', what, figure: 'registers', value: resources[what].registers },
    { part: 'kernel', what, figure: 'static_shared_bytes', value: resources[what].static_shared },
  ])
  return [
    ...of_kernels,
    ...ceilings,
    ...alone,
    ...decodes,
    ...prompts,
    whole,
    ...predictionsOfFp8(machine, round),
    ...predictionsOfRanks(machine, round),
  ]
}

function predictionsOfRanks(machine: Machine, round: (value: number) => number): Prediction[] {
  return [2, 4].flatMap((ranks) => [
    ...[1, 32].map((sequences) => ({
      ...{ part: 'decode', sequences, context: 2048, layers, tensor_parallel: ranks, figure: 'tok_per_s_ahead' },
      value: round(sequences / decodeSeconds(sequences, 2048, machine, { ranks })),
    })),
    {
      ...{ part: 'prefill', tokens: 2048, layers, tensor_parallel: ranks, figure: 'ms' },
      value: round(1e3 * promptSeconds(2048, machine, { ranks })),
    },
  ])
}

function predictionsOfFp8(machine: Machine, round: (value: number) => number): Prediction[] {
  const weights = 'fp8'
  const passes = (rows: number) => Math.ceil(rows / gemm_rows_max)
  const alone = products.flatMap((product) =>
    [1, 8, 32, 64, 96, 128, 192, 256, 2048].map((rows) => {
      const us = passes(rows) * gemmUs(product, Math.min(rows, gemm_rows_max), machine, weights).us
      return { part: 'gemm', what: product.name, rows, weights, figure: 'us', value: round(us) } as const
    }),
  )
  const decodes = [1, 32].map((sequences) => {
    const value = round(sequences / decodeSeconds(sequences, 2048, machine, { weights }))
    return { part: 'decode', sequences, context: 2048, layers, weights, figure: 'tok_per_s_ahead', value } as const
  })
  const ms = round(1e3 * promptSeconds(2048, machine, { weights }))
  const with_cache = { layers, kv_cache: 'fp8' } as const
  const cached_value = round(32 / decodeSeconds(32, 2048, machine, with_cache))
  const cached_ms = round(1e3 * promptSeconds(2048, machine, with_cache))
  return [
    ...alone,
    ...decodes,
    { part: 'prefill', tokens: 2048, layers, weights, figure: 'ms', value: ms },
    { part: 'decode', sequences: 32, context: 2048, ...with_cache, figure: 'tok_per_s_ahead', value: cached_value },
    { part: 'prefill', tokens: 2048, ...with_cache, figure: 'ms', value: cached_ms },
  ]
}

export interface Goal {
  what: string
  goal: number
  is_at_most: boolean
  of: (machine: Machine) => number
}

export const goals: Goal[] = [
  { what: 'one sequence at 2k, tok/s', goal: 58, is_at_most: false, of: (m) => 1 / decodeSeconds(1, 2048, m) },
  { what: '32 sequences at 2k, tok/s', goal: 1450, is_at_most: false, of: (m) => 32 / decodeSeconds(32, 2048, m) },
  {
    what: '32 sequences at 2k, eight adapters of rank 16 over all matrices, tok/s',
    goal: 1295, // 0.8 of the base's
    is_at_most: false,
    of: (m) => 32 / decodeSeconds(32, 2048, m, { adapters: { count: 8, rank: 16 } }),
  },
  { what: 'a prompt of 2,048 tokens, ms', goal: 210, is_at_most: true, of: (m) => 1e3 * promptSeconds(2048, m) },
  {
    what: '1000 in, 1000 out, full batch, tok/s',
    goal: 2900,
    is_at_most: false,
    of: (m) => throughput(1000, m).tok_per_s,
  },
]

/** As a table of Markdown. */
export function tableOfGoals(): string {
  const rows = goals.map(({ what, goal, is_at_most, of }) => {
    const [first, second] = [of(h200), of(h100)].map((value) => Math.round(value).toLocaleString('en'))
    return `| ${what} | ${is_at_most ? '≤' : '≥'} ${goal.toLocaleString('en')} | ${first} | not yet | ${second} | not yet |`
  })
  return [
    '| what | goal (H200) | H200 predicted | measured | H100 predicted | measured |',
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

/** What fp8 weights and an fp8 KV cache are expected to be worth, in the same steps. */
export function tableOfFp8(): string {
  const steps: [string, (machine: Machine, formats: Formats) => number][] = [
    ['one sequence at 2k, tok/s', (m, formats) => 1 / decodeSeconds(1, 2048, m, formats)],
    ['32 sequences at 2k, tok/s', (m, formats) => 32 / decodeSeconds(32, 2048, m, formats)],
    ['128 sequences at 512, tok/s', (m, formats) => 128 / decodeSeconds(128, 512, m, formats)],
    ['a prompt of 2,048 tokens, ms', (m, formats) => 1e3 * promptSeconds(2048, m, formats)],
    ['1000 in, 1000 out, full batch: sequences at once', (m, formats) => throughput(1000, m, formats).at_once],
    ['the same, tok/s', (m, formats) => throughput(1000, m, formats).tok_per_s],
  ]
  const all: Formats[] = [{}, { weights: 'fp8' }, { kv_cache: 'fp8' }, { weights: 'fp8', kv_cache: 'fp8' }]
  const cell = (value: number) => Math.round(value).toLocaleString('en')
  const rows = steps.map(([what, of]) => {
    const cells = [h200, h100].flatMap((machine) => [...all.map((formats) => cell(of(machine, formats))), 'not yet'])
    return `| ${what} | ${cells.join(' | ')} |`
  })
  const names = ['fp16', 'fp8 weights', 'fp8 KV cache', 'both']
  const heads = ['H200', 'H100'].flatMap((machine) => [...names.map((name) => `${machine} ${name}`), 'measured'])
  return [`| what | ${heads.join(' | ')} |`, `|---|${'---|'.repeat(heads.length)}`, ...rows].join('\n')
}

/** What several devices are expected to be worth, on H200s. */
export function tableOfRanks(): string {
  const degrees = [1, 2, 4, 8]
  const of_layers = layers * products.reduce((sum, product) => sum + weightBytes(product, 'fp16'), 0)
  const of_head = half_bytes * vocab * hidden
  const kv_gb = (2 * half_bytes * kv_heads * head_size * layers * 32 * 2048) / 1e9
  const steps: [string, (ranks: number) => number, number][] = [
    ['weights a device, GB', (n) => ((of_layers + of_head) / n + of_head) / 1e9, 1],
    ['KV cache of 32 x 2k a device, GB', (n) => kv_gb / n, 1],
    ['a sum at 1 row, µs', (n) => sumUs(1, n, h200), 1],
    ['a sum at 32 rows, µs', (n) => sumUs(32, n, h200), 1],
    ['a sum at 2,048 rows, µs', (n) => sumUs(2048, n, h200), 0],
    ['the host enqueues a step that is not recorded in, ms', (n) => hostUs(n) / 1e3, 1],
    ['one sequence at 2k, tok/s', (n) => 1 / decodeSeconds(1, 2048, h200, { ranks: n }), 0],
    ['32 sequences at 2k, tok/s', (n) => 32 / decodeSeconds(32, 2048, h200, { ranks: n }), 0],
    ['a prompt of 2,048 tokens, ms', (n) => 1e3 * promptSeconds(2048, h200, { ranks: n }), 0],
  ]
  const cell = (value: number, digits: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return [
    `| H200s that compute together | ${degrees.join(' | ')} | measured |`,
    `|---|${'---|'.repeat(degrees.length + 1)}`,
    ...steps.map(
      ([what, of, digits]) => `| ${what} | ${degrees.map((n) => cell(of(n), digits)).join(' | ')} | not yet |`,
    ),
  ].join('\n')
}

/** Microseconds of each product alone on an H200, and what bounds it. */
export function tableOfProducts(): string {
  const counts = [1, 32, 64, 128, 192, 256]
  const row = (product: Product, weights: Weights, prefill: number) => {
    const cells = counts.map((count) => {
      const { us, bound } = gemmUs(product, count, h200, weights)
      return `${us.toFixed(0)} ${bound}`
    })
    const name = `${product.name} ${product.outputs} x ${product.inputs}${weights === 'fp8' ? ', fp8' : ''}`
    return `| ${name} | ${cells.join(' | ')} | ${prefill.toFixed(0)} |`
  }
  const rows = [
    ...[...products, head].map((product) => row(product, 'fp16', prefillUs(product, 2048, h200))),
    ...products.map((product) => row(product, 'fp8', 8 * gemmUs(product, gemm_rows_max, h200, 'fp8').us)),
  ]
  return [
    `| product, µs at rows | ${counts.join(' | ')} | 2048 |`,
    `|---|${'---|'.repeat(counts.length + 1)}`,
    ...rows,
  ].join('\n')
}

const notes = join(import.meta.dirname, '../NOTES.md')

/** Puts the tables between the marks that NOTES.md has for them. */
export function notesWith(text: string): string {
  const filled = `<!-- predicted -->\n${tableOfGoals()}\n\n${tableOfProducts()}\n\n${tableOfFp8()}\n\n${tableOfRanks()}\n<!-- end -->`
  return text.replace(/<!-- predicted -->[\s\S]*<!-- end -->/, () => filled)
}

if (import.meta.main) {
  if (!resources_are_of_objects) console.log('nothing was built by nvcc here: registers are those of predicted.json\n')
  console.log(`${tableOfGoals()}\n\n${tableOfProducts()}\n\n${tableOfFp8()}\n\n${tableOfRanks()}`)
  const without_clusters = 1e3 * promptSeconds(2048, h200, { blocks_a_cluster: 1 })
  console.log(`\na prompt of 2,048 without clusters: ${without_clusters.toFixed(0)} ms`)
  if (process.argv.includes('--write')) {
    writeFileSync(predicted_file, `${JSON.stringify(predictions(h200), null, 2)}\n`)
    writeFileSync(notes, notesWith(readFileSync(notes, 'utf8')))
  }
}
