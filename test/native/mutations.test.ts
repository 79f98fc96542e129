// The list of kernel mutations is still about the kernels that there are; that each is noticed, mutations.ts shows in its own time.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mutations } from './kernel-mutations.ts'

const folder = join(import.meta.dirname, '../../native/kernels/cuda')

test.each(mutations)('$kernel has one $from', ({ kernel, from }) => {
  const path = ['cu', 'cpp', 'h'].map((end) => join(folder, `${kernel}.${end}`)).find(existsSync)!
  expect(readFileSync(path, 'utf8').split(from)).toHaveLength(2)
})
