// The native half of loading under the address sanitizer (load-check.cpp): lists of tensors as a broken reader would make
// them. Each is refused by name; a byte read or written where none is ends the program, and with it the test.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { llama } from '../../gpu-node/run/native/architecture/llama.ts'
import type { ModelShape, TensorSource } from '../../gpu-node/run/native/engine.ts'
import { modelConfig } from '../../gpu-node/run/native/load/model-config.ts'
import { folderWith, tinyConfig } from '../support/safetensors.ts'

type Dtype = TensorSource['dtype']
type Numbers = { offset: number | bigint; bytes: number | bigint; first_row: number | bigint } // beyond what a number holds, too
type Tensor = Omit<TensorSource, keyof Numbers> & Numbers

interface Case {
  name: string
  shape: ModelShape
  tensors: Tensor[]
  code: string | RegExp
}

const { shape } = modelConfig(tinyConfig, null)
const FILE_BYTES = 30_000

/** The tensors of the tiny model, one after the other. */
function goodTensors(path: string, dtype: Dtype = 'F16'): TensorSource[] {
  let end = 0
  return llama.tensorsOf(shape).map((tensor) => {
    const bytes = tensor.shape.reduce((product, length) => product * length, dtype === 'F32' ? 4 : 2)
    end += bytes
    return { ...tensor, path, dtype, offset: end - bytes, bytes }
  })
}

const OFFSETS = [-1n, 2n ** 64n - 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 53n, FILE_BYTES]
const BYTES = [0, -1n, 2n ** 63n, 2n ** 62n, 2n ** 53n]
const FIRST_ROWS = [1n, -1n, 2n ** 24n, 2n ** 31n, 2n ** 63n - 1000n, -(2n ** 63n)]
const LENGTHS = [0, 1, -1, 2 ** 24, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 53]
type Change = [what: string, code: string | RegExp, change: (tensor: TensorSource) => Partial<Tensor>]
const CHANGES: Change[] = [
  ...OFFSETS.map((offset): Change => [`offset-${offset}`, 'weights_out_of_range', () => ({ offset })]),
  ['offset-that-overflows', 'weights_out_of_range', ({ bytes }) => ({ offset: 2n ** 64n - BigInt(bytes) + 1n })],
  ['offset-one-too-far', 'weights_out_of_range', ({ bytes }) => ({ offset: FILE_BYTES - bytes + 1 })],
  ...BYTES.map((bytes): Change => [`bytes-${bytes}`, /^(bad_shape|weights_out_of_range)$/, () => ({ bytes })]),
  ['bytes-one-more', 'bad_shape', ({ bytes }) => ({ bytes: bytes + 1 })],
  ['bytes-one-less', 'bad_shape', ({ bytes }) => ({ bytes: bytes - 1 })],
  ['bytes-of-another-type', 'bad_shape', ({ bytes }) => ({ bytes: bytes * 2 })],
  ['type-of-other-bytes', 'bad_shape', () => ({ dtype: 'F32' })],
  ...LENGTHS.map(
    (length): Change => [`length-${length}`, 'bad_shape', (t) => ({ shape: [length, ...t.shape.slice(1)] })],
  ),
  ['dimension-more', 'bad_shape', (t) => ({ shape: [...t.shape, 1] })],
  ['dimension-less', 'bad_shape', (t) => ({ shape: t.shape.slice(1) })],
  ['slot-of-none', 'weights_missing_tensor', ({ slot }) => ({ slot: `${slot}x` })],
  [
    'slot-of-another',
    /^(bad_shape|weights_missing_tensor)$/,
    ({ slot }) => ({ slot: slot === 'head' ? 'embedding' : 'head' }),
  ],
  ...FIRST_ROWS.map(
    (by): Change => [
      `row-${by}`,
      /^(bad_shape|weights_missing_tensor)$/,
      ({ first_row }) => ({ first_row: BigInt(first_row) + by }),
    ],
  ),
  ['file-of-none', 'weights_read', () => ({ path: '/nowhere' })],
  ['file-that-is-a-folder', 'weights_read', () => ({ path: '/tmp' })],
  ['file-that-is-a-device', 'weights_read', () => ({ path: '/dev/zero' })],
]

function wrongTensors(path: string): Case[] {
  const tensors = goodTensors(path)
  return tensors.flatMap((tensor, i) => [
    { name: `${tensor.name}:missing`, shape, tensors: tensors.toSpliced(i, 1), code: 'weights_missing_tensor' },
    { name: `${tensor.name}:twice`, shape, tensors: tensors.toSpliced(i, 0, tensor), code: 'bad_shape' },
    {
      name: `${tensor.name}:unknown`,
      shape,
      tensors: [...tensors, { ...tensor, slot: 'x' }],
      code: 'weights_unknown_tensor',
    },
    ...CHANGES.map(([what, code, change]): Case => {
      const changed = [...tensors.slice(0, i), { ...tensor, ...change(tensor) }, ...tensors.slice(i + 1)]
      return { name: `${tensor.name}:${what}`, shape, tensors: changed, code }
    }),
  ])
}

function wrongShapes(path: string): Case[] {
  const fields = ['vocab_size', 'hidden_size', 'intermediate_size', 'layers', 'heads', 'kv_heads', 'head_size'] as const
  return fields.flatMap((field) =>
    [0, -1, shape[field] + 1, 2 ** 24, 2 ** 24 + 1, 2 ** 31 - 1, -(2 ** 31)].map((value): Case => {
      const code = /^(bad_shape|out_of_memory|weights_missing_tensor)$/
      return { name: `shape:${field}=${value}`, shape: { ...shape, [field]: value }, tensors: goodTensors(path), code }
    }),
  )
}

const VALUES: [Dtype, string, string][] = [
  ['F16', '007c', 'weights_not_finite'],
  ['F16', '00fe', 'weights_not_finite'],
  ['F16', '017c', 'weights_not_finite'],
  ['BF16', '807f', 'weights_not_finite'],
  ['BF16', 'c07f', 'weights_not_finite'],
  ['F32', '0000807f', 'weights_not_finite'],
  ['F32', '0100c0ff', 'weights_not_finite'],
]

/** A bad value as the first and as the last of every tensor. */
function wrongValues(folder: string): Case[] {
  return VALUES.flatMap(([dtype, value, code], v) =>
    goodTensors('', dtype).flatMap(({ name, offset, bytes }) =>
      [offset, offset + bytes - value.length / 2].map((at, i): Case => {
        const path = join(folder, `${v}-${name}-${i}`)
        const content = Buffer.alloc(FILE_BYTES)
        content.write(value, at, 'hex')
        writeFileSync(path, content)
        return { name: `${name}:${dtype}-${value}-at-${at}`, shape, tensors: goodTensors(path, dtype), code }
      }),
    ),
  )
}

function outcomesOf(cases: Case[], folder: string): Map<string, Set<string>> {
  const list = join(folder, 'cases')
  const lines = cases.flatMap(({ name, shape: s, tensors }) => [
    `case ${name}`,
    `shape ${s.vocab_size} ${s.hidden_size} ${s.intermediate_size} ${s.layers} ${s.heads} ${s.kv_heads} ${s.head_size} 0`,
    ...tensors.map(
      (t) =>
        `tensor ${t.slot} ${t.first_row} ${t.name} ${t.path} ${t.dtype} ${BigInt.asUintN(64, BigInt(t.offset))} ${BigInt.asUintN(64, BigInt(t.bytes))} ${t.shape}`,
    ),
    'end',
  ])
  writeFileSync(list, `${lines.join('\n')}\n`)
  const program = join(import.meta.dirname, '../../native/build/load-check')
  const outcomes = new Map<string, Set<string>>()
  for (const line of execFileSync(program, ['cases', list], { encoding: 'utf8', maxBuffer: 64 << 20 })
    .trim()
    .split('\n')) {
    const [name, code] = line.split(' ') as [string, string]
    outcomes.set(name, (outcomes.get(name) ?? new Set()).add(code)) // with one thread, and with three
  }
  return outcomes
}

test('the good list loads', () => {
  const folder = folderWith({ weights: Buffer.alloc(FILE_BYTES) })
  const good = { name: 'good', shape, tensors: goodTensors(join(folder, 'weights')), code: 'ok' }
  expect(outcomesOf([good], folder)).toEqual(new Map([['good', new Set(['ok'])]]))
})

test('each of more than 500 wrong lists is refused by name', () => {
  const folder = folderWith({ weights: Buffer.alloc(FILE_BYTES) })
  const path = join(folder, 'weights')
  const cases = [...wrongTensors(path), ...wrongShapes(path), ...wrongValues(folder)]
  const outcomes = outcomesOf(cases, folder)
  expect(outcomes.size).toBeGreaterThan(500)
  for (const { name, code } of cases) {
    const [outcome, ...more] = outcomes.get(name) ?? []
    expect(more, name).toEqual([])
    if (typeof code === 'string') expect(outcome, name).toBe(code)
    else expect(outcome, name).toMatch(code)
  }
})
