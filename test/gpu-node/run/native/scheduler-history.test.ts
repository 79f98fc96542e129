// Random operations on the scheduler keep every invariant; and they can fail: on a copy of the source with one line broken,
// they do. In processes of their own, where Node runs the source as it is, six times as fast as among the tests.

import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import { draws } from '../../../support/draws.ts'
import { seededRandom } from '../../../support/random.ts'
import { type Mutation, mutations } from '../../../support/scheduler-mutations.ts'

const root = join(import.meta.dirname, '../../../..')
const OPERATIONS = draws('OPERATIONS', { few: 30_000, all: 100_000 })
const MUTATED_OPERATIONS_MAX = 20_000
const random = seededRandom()

interface Counts {
  finished: number
  steps_ahead: number
  tokens_dropped: number
}

interface Run {
  failed: boolean
  output: string
}

function run(folder: string, operations: number): Promise<Run> {
  const script = join(folder, 'test/support/scheduler-history.ts')
  const env = { ...process.env, SEED: String(random.below(2 ** 32)) }
  return new Promise((resolve) => {
    execFile(process.execPath, [script, String(operations)], { env }, (error, stdout, stderr) =>
      resolve({ failed: error !== null, output: stdout + stderr }),
    )
  })
}

test(`${OPERATIONS} random operations keep every invariant, and each output is the one its own tokens give`, async () => {
  const { failed, output } = await run(root, OPERATIONS)
  expect({ failed, output }).toEqual({ failed: false, output: expect.stringContaining('every invariant held') })
  const status = JSON.parse(output.split('\n').at(-2)!) as Scheduler['status'] & Counts
  expect(status).toMatchObject({ running: 0, waiting: 0, blocks_free: status.blocks_total })
  expect(status.preemptions).toBeGreaterThan(OPERATIONS / 400)
  expect(status.cache_hits).toBeGreaterThan(OPERATIONS)
  expect(status.drafts_accepted).toBeGreaterThan(OPERATIONS / 100)
  expect(status.drafts_proposed - status.drafts_accepted).toBeGreaterThan(OPERATIONS / 100)
  expect(status.finished).toBeGreaterThan(OPERATIONS / 40)
  expect(status.steps_ahead).toBeGreaterThan(OPERATIONS / 20)
  expect(status.tokens_dropped).toBeGreaterThan(OPERATIONS / 1000)
})

test.each(mutations)('they find that $what', async (mutation) => {
  const { failed, output } = await run(brokenCopy(mutation), MUTATED_OPERATIONS_MAX)
  expect(failed).toBe(true)
  expect(output).toMatch(/AssertionError/)
})

function brokenCopy({ file, line, becomes }: Mutation): string {
  const copy = mkdtempSync(join(tmpdir(), 'ziya-mutation-'))
  onTestFinished(() => rmSync(copy, { recursive: true }))
  for (const folder of ['contract', 'gpu-node', 'test/support'])
    cpSync(join(root, folder), join(copy, folder), { recursive: true })
  cpSync(join(root, 'package.json'), join(copy, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const path = join(copy, 'gpu-node/run/native', file)
  const parts = readFileSync(path, 'utf8').split(line)
  expect(parts, `${file} has this once: ${line}`).toHaveLength(2)
  writeFileSync(path, parts.join(becomes))
  return copy
}
