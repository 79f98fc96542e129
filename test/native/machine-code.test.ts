// What the assembler made of the hot kernels for sm_90a, in its instructions: that products are issued many at a time and at their full width,
// that weights and tiles come by bulk copies and 128-bit loads, and that nothing lies in local memory. Needs the objects that nvcc made, and
// cuobjdump of CUDA 12.4 or later (nvcc's package need not bring it: Debian's nvidia-cuda-toolkit of trixie does; CUOBJDUMP names another).

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { narrow_tile_instructions, wide_tile_instructions } from '../../bench/gpu/predict.ts'

const objects = join(import.meta.dirname, '../../native/build/kernels/cuda')
const cuobjdump = process.env.CUOBJDUMP ?? 'cuobjdump'

function isThere(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The one that the objects were made by. */
function nvcc(): string {
  const cache = readFileSync(join(objects, '../../CMakeCache.txt'), 'utf8')
  return /^NVCC:\w+=(.*)$/m.exec(cache)![1]!
}

type Instructions = string[] // with what follows their names, without their operands but for a branch's target, as its number

const known = new Map<string, Map<string, Instructions>>()

/** The kernels of an object for sm_90a, by their mangled names. */
function kernelsOf(object: string): Map<string, Instructions> {
  const kernels = known.get(object) ?? disassembled(object)
  known.set(object, kernels)
  return kernels
}

function disassembled(object: string): Map<string, Instructions> {
  const listing = execFileSync(cuobjdump, ['-sass', '-arch', 'sm_90a', object], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  })
  const kernels = new Map<string, Instructions>()
  let current: Instructions | null = null
  for (const line of listing.split('\n')) {
    const [, name] = /^\s*Function : (\S+)/.exec(line) ?? []
    if (name) current = []
    if (name && current) kernels.set(name, current)
    const [, instruction, target] =
      /^\s+\/\*[0-9a-f]{4,}\*\/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)(?:.* (0x[0-9a-f]+) ;)?/.exec(line) ?? []
    if (instruction) current?.push(instruction === 'BRA' ? `BRA ${Number(target) / 16}` : instruction)
  }
  return kernels
}

const named = (object: string, name: RegExp) =>
  [...kernelsOf(join(objects, `${object}.o`))].flatMap(([mangled, instructions]) => {
    const found = name.exec(mangled)
    return found ? [{ found, instructions }] : []
  })
const count = (instructions: Instructions, wanted: RegExp) => instructions.filter((one) => wanted.test(one)).length

/** How many instructions the shortest loop has that all of its kind are in. */
function loopAround(instructions: Instructions, kind: RegExp): number {
  const first = instructions.findIndex((one) => kind.test(one))
  const last = instructions.findLastIndex((one) => kind.test(one))
  const loops = instructions.flatMap((one, at) => {
    const [, target] = /^BRA (\d+)$/.exec(one) ?? []
    return at > last && Number(target) <= first ? [at - Number(target)] : []
  })
  return Math.min(...loops)
}

/** How many columns each product of a warp group has, 16 deep. */
const widths = (instructions: Instructions) =>
  instructions.flatMap((one) => {
    const [, columns] = /^HGMMA\.64x(\d+)x16\.F32/.exec(one) ?? []
    return columns ? [Number(columns)] : []
  })
const PRODUCTS_A_WAIT = 4 // 16 inputs each: a stage of 64

const has_disassembler = isThere(cuobjdump)

describe.skipIf(!has_disassembler || !existsSync(objects))(
  `what ${cuobjdump} shows of the kernels that nvcc made`,
  () => {
    test('no kernel keeps anything in local memory', () => {
      const kernels = readdirSync(objects)
        .filter((file) => file.endsWith('.o'))
        .flatMap((file) => [...kernelsOf(join(objects, file))])
      expect(kernels.length).toBeGreaterThan(40)
      expect(kernels.filter(([, code]) => code.length < 20).map(([name]) => name)).toEqual([])
      expect(kernels.filter(([, code]) => count(code, /^(LDL|STL)/) > 0).map(([name]) => name)).toEqual([])
    })

    test('that is seen where it is', () => {
      const folder = mkdtempSync(join(tmpdir(), 'ziya-local-memory-'))
      onTestFinished(() => rmSync(folder, { recursive: true }))
      const source = join(folder, 'indexed.cu')
      writeFileSync(
        source,
        `__global__ void indexed(const int* in, int* out) {
         int kept[64];
         for (int i = 0; i < 64; i++) kept[in[i] & 63] = i;
         for (int i = 0; i < 64; i++) out[i] = kept[in[64 + i] & 63];
       }`,
      )
      execFileSync(nvcc(), ['-arch=sm_90a', '-cubin', '-o', `${source}.cubin`, source])
      const [code] = [...kernelsOf(`${source}.cubin`).values()]
      expect(count(code!, /^LDL/)).toBeGreaterThan(0)
      expect(count(code!, /^STL/)).toBeGreaterThan(0)
    })

    test('the product for few tokens: each bucket at its full width, many products a wait, its weights by bulk copies', () => {
      const buckets = named('gemm', /gemm_kernel.*Li(\d+)E/)
      expect(buckets.map(({ found }) => Number(found[1])).sort((a, b) => a - b)).toEqual([
        8, 16, 32, 64, 96, 128, 160, 192, 224, 256,
      ])
      for (const { found, instructions } of buckets) {
        const tokens = Number(found[1])
        const waits = count(instructions, /^WARPGROUP\.ARRIVE/)
        const columns = widths(instructions).reduce((a, b) => a + b, 0)
        expect([tokens, columns % (tokens * waits)]).toEqual([tokens, 0])
        expect([tokens, columns / tokens / waits]).toEqual([tokens, 2 * PRODUCTS_A_WAIT])
        expect([tokens, count(instructions, /^UBLKCP/) > 0]).toEqual([tokens, true])
        expect([tokens, count(instructions, /^LDG\.E\.128/)]).toEqual([tokens, Math.max(4, tokens / 8)])
      }
    })

    test('the same of fp8 weights: codes read 128 bits and converted two at a time, as many products as of halves', () => {
      const buckets = named('gemm_fp8', /gemm_kernel.*Li(\d+)E/)
      expect(buckets).toHaveLength(10)
      for (const { found, instructions } of buckets) {
        const tokens = Number(found[1])
        const columns = widths(instructions).reduce((a, b) => a + b, 0)
        const waits = tokens === 256 ? 2 : 1 // a tile at a time, or both of a stage
        expect([tokens, count(instructions, /^WARPGROUP\.DEPBAR/)]).toEqual([tokens, waits])
        expect([tokens, columns / tokens]).toEqual([tokens, 2 * PRODUCTS_A_WAIT])
        expect([tokens, count(instructions, /^F2FP\..*E4M3/)]).toEqual([tokens, 32]) // of a thread's 64 codes of a stage
        expect([tokens, count(instructions, /^LDS\.128/) >= 4]).toEqual([tokens, true])
        expect([tokens, count(instructions, /^UBLKCP/) > 0]).toEqual([tokens, true])
      }
    })

    test('the product for many tokens: 256 columns, and tiles that a cluster shares', () => {
      const [prefill] = named('prefill_gemm', /prefill_gemm_kernel/)
      const code = prefill!.instructions
      expect(widths(code)).toEqual(Array(PRODUCTS_A_WAIT * count(code, /^WARPGROUP\.ARRIVE/)).fill(256))
      expect(count(code, /^UBLKCP.*MULTICAST/)).toBeGreaterThan(0)
      expect(count(code, /^STG\.E\.128/)).toBeGreaterThanOrEqual(32) // 4 of a thread for each 32 rows, once or for either epilogue
    })

    test('attention: its products on the tensor cores, its tiles by 128-bit copies that pass by the registers', () => {
      const shapes = named('tiled_attention', /attention_kernel/)
      expect(shapes).toHaveLength(16)
      for (const { instructions } of shapes) {
        expect(count(instructions, /^HMMA\.16816\.F32/)).toBeGreaterThanOrEqual(8)
        expect(count(instructions, /^LDGSTS\.E\.BYPASS\.128/)).toBe(count(instructions, /^LDGSTS/))
        expect(count(instructions, /^LDGSTS/)).toBeGreaterThan(0)
        expect(count(instructions, /^LDSM/)).toBeGreaterThan(0)
      }
    })

    test('attention of an fp8 cache: codes two at a time, by the warp that multiplies them, or by a block once for all of its warps', () => {
      const conversions = (warps: number) => {
        const [shape] = named('tiled_attention', RegExp(`attention_kernel.*ShapeIhLi128ELi${warps}E`))
        return count(shape!.instructions, /^F2FP\..*E4M3/)
      }
      expect([conversions(1), conversions(8)]).toEqual([(2 * 64 * 128) / 2 / 32, (2 * 64 * 128) / 2 / 256])
    })

    test('the loop over tiles of the attention is as long as the model of the machine takes it to be', () => {
      const length = (number: string, warps: number) => {
        const [shape] = named('tiled_attention', RegExp(`attention_kernel.*${number}Li128ELi${warps}E`))
        return loopAround(shape!.instructions, /^HMMA/)
      }
      for (const [format, number] of [
        ['fp16', '6__half'],
        ['fp8', 'Ih'],
      ] as const) {
        // Another compiler's may be somewhat longer or shorter.
        expect(Math.abs(length(number, 1) / narrow_tile_instructions[format] - 1)).toBeLessThan(0.05)
        expect(Math.abs(length(number, 8) / wide_tile_instructions[format] - 1)).toBeLessThan(0.05)
      }
    })

    test('what reads activations and weights row by row reads 128 bits at a time', () => {
      const products = named('matmul', /matmul_kernel.*E\dE6__half/)
      expect(products).toHaveLength(12)
      const others = named('small_kernels', /(swiglu|rms_norm|gelu)_kernel/)
      expect(others).toHaveLength(4) // gelu_kernel by tanh and exact
      for (const { found, instructions } of [...products, ...others])
        expect([found[0], count(instructions, /^LDG\.E.*\.128/) > 2]).toEqual([found[0], true])
    })
  },
)
