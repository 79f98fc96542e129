// The program that measures on a GPU, run at a tiny size in the emulator: each part runs to its end and counts right.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { HANG_MS_MIN } from '../support/patience.ts'

const program = join(import.meta.dirname, '../../native/build/gpu-bench-emulated')

// The emulator is for x86-64 alone.
describe.skipIf(process.arch !== 'x64' && !existsSync(program))('gpu-bench', () => {
  test.each([
    ['gemm', 10, { what: 'qkv', rows: 1 }],
    ['decode', 2, { sequences: 1, context: 40 }],
    ['prefill', 1, { tokens: 20 }],
    ['throughput', 1, { requests: 9, output_tokens: 45 }],
  ])('%s', (part, lines, first) => {
    const { status, stdout, stderr } = spawnSync(program, [part, '--tiny'], { encoding: 'utf8', timeout: HANG_MS_MIN })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(rows).toHaveLength(lines)
    expect(rows[0]).toMatchObject({ part, ...first })
    for (const row of rows) for (const value of Object.values(row)) expect(value).not.toBeNull()
  })
})
