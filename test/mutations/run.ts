// Whether the tests would notice: applies each mutation of the money path (mutations.json) to a copy of the source, and runs the facts
// and some histories of the ledger until the first failure. All must fail.
//   node test/mutations/run.ts [first=0] [last]

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Mutation {
  file: string
  find: string
  replace: string
  why: string
}

const root = join(import.meta.dirname, '../..')
const parts = [
  'contract',
  'gateway',
  'local',
  'migrations',
  'test',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
]
const tests = ['test/migrations/ledger.test.ts', 'test/gateway/db/lane.test.ts', 'test/migrations/histories.test.ts']
const mutations: Mutation[] = JSON.parse(readFileSync(join(import.meta.dirname, 'mutations.json'), 'utf8'))
const [first = 0, last = mutations.length] = process.argv.slice(2).map(Number)
const survivors: string[] = []

for (const [index, mutation] of mutations.entries()) {
  if (index < first || index >= last) continue
  const started = performance.now()
  const isCaught = !testsPass(mutation)
  if (!isCaught) survivors.push(mutation.why)
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(
    `${String(index).padStart(2)} ${isCaught ? 'caught  ' : 'SURVIVED'} ${seconds.padStart(4)} s  ${mutation.why}`,
  )
}
console.log(`${survivors.length} survived`)
process.exit(survivors.length > 0 ? 1 : 0)

function testsPass({ file, find, replace }: Mutation): boolean {
  const copy = mkdtempSync(join(tmpdir(), 'ziya-mutation-'))
  for (const part of parts) cpSync(join(root, part), join(copy, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  writeFileSync(
    join(copy, file),
    readFileSync(join(copy, file), 'utf8').replace(find, () => replace),
  )
  const vitest = [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--bail=1',
    '--maxWorkers=1',
    '--testTimeout=60000',
    ...tests,
  ]
  const { status } = spawnSync(process.execPath, vitest, {
    cwd: copy,
    env: { ...process.env, HISTORIES: '24' },
    stdio: 'ignore',
    timeout: 120_000,
  })
  rmSync(copy, { recursive: true, force: true })
  return status === 0
}
