// The C++ tests, as one test of the run: native/build/kernel-test prints its seed and what failed.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { HANG_MS_MIN } from '../support/patience.ts'

test('every kernel, every instruction set, against float64', () => {
  const program = join(import.meta.dirname, '../../native/build/kernel-test')
  const { status, stdout, stderr, error } = spawnSync(program, { encoding: 'utf8', timeout: HANG_MS_MIN })
  expect(error).toBeUndefined()
  console.log(stdout)
  expect(`${stdout}${stderr}`).toMatch(/\n\d+ passed, 0 failed\n$/)
  expect(status).toBe(0)
})
