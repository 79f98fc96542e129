// What the model of the machine expects is written down as it expects it now, reaches the goals, and moves as its machine does.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  bucketOf,
  decodeSeconds,
  gemmUs,
  goals,
  h100,
  h200,
  notesWith,
  type Prediction,
  predicted_file,
  predictions,
  prefillUs,
  products,
  promptSeconds,
} from '../../bench/gpu/predict.ts'

const root = join(import.meta.dirname, '../..')

describe('the predicted times', () => {
  test('are written down as the kernels are now (node bench/gpu/predict.ts --write)', () => {
    const written: Prediction[] = JSON.parse(readFileSync(predicted_file, 'utf8'))
    const times = (all: Prediction[]) => all.filter(({ part }) => part !== 'kernel')
    expect(times(written)).toEqual(times(predictions(h200)))
    const notes = readFileSync(join(root, 'bench/NOTES.md'), 'utf8')
    expect(notesWith(notes)).toBe(notes)
  })

  // Another compiler's registers may be some more or less.
  test('come of the registers that the assembler gave the kernels', () => {
    const registers = (all: Prediction[]) => all.filter(({ figure }) => figure === 'registers')
    const now = registers(predictions(h200))
    expect(now.length).toBeGreaterThan(5)
    for (const [i, { what, value }] of registers(JSON.parse(readFileSync(predicted_file, 'utf8'))).entries()) {
      expect(what).toBe(now[i]!.what)
      expect([what, Math.abs(now[i]!.value / value - 1) < 0.15]).toEqual([what, true])
    }
  })

  test.each(goals)('reach the goal on an H200: $what', ({ goal, is_at_most, of }) => {
    if (is_at_most) expect(of(h200)).toBeLessThanOrEqual(goal)
    else expect(of(h200)).toBeGreaterThanOrEqual(goal)
  })

  test('are bound by memory for few rows and by the L2 cache for many', () => {
    for (const product of products) {
      expect(gemmUs(product, 8, h200).bound).toBe('DRAM')
      expect(gemmUs(product, 256, h200).bound).toBe('L2')
      expect(gemmUs(product, 8, h100).us / gemmUs(product, 8, h200).us).toBeCloseTo(
        h200.dram_tb_per_s / h100.dram_tb_per_s,
        1,
      )
    }
  })

  test('never fall with more rows, nor with a longer context', () => {
    for (const product of products)
      for (let rows = 1; rows < 256; rows++)
        expect(gemmUs(product, rows + 1, h200).us).toBeGreaterThanOrEqual(gemmUs(product, rows, h200).us)
    for (const sequences of [1, 8, 32, 128])
      for (let context = 256; context < 8192; context *= 2)
        expect(decodeSeconds(sequences, 2 * context, h200)).toBeGreaterThan(decodeSeconds(sequences, context, h200))
  })

  test('know what clusters of two blocks are worth', () => {
    const of = (blocks_a_cluster: number) => promptSeconds(2048, h200, { blocks_a_cluster })
    expect(of(2)).toBeLessThan(0.9 * of(1))
    // No wave of tiles is begun in vain.
    for (const product of products)
      expect(prefillUs(product, 4096, h200)).toBeLessThan(2.05 * prefillUs(product, 2048, h200))
  })

  test('have the buckets of layout.h', () => {
    expect([1, 8, 9, 16, 17, 32, 33, 176, 255, 256].map(bucketOf)).toEqual([8, 8, 16, 16, 32, 32, 64, 192, 256, 256])
  })
})
