// Whether the tests would notice: applies each mutation of the money path (mutations.json) to a copy of the source, and runs the tests
// named there, or the compiler alone where `types` says that it has to notice, else the facts and some histories of the ledger, until
// the first failure. All must fail, and pass where nothing is changed; a run that does not end in time shows neither.
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
  tests?: string[]
  types?: boolean
}

const root = join(import.meta.dirname, '../..')
const parts = [
  'bench',
  'contract',
  'docs',
  'eval',
  'gateway',
  'gpu-node',
  'local',
  'migrations',
  'models',
  'sandbox',
  'test',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
  'wrangler.toml',
]
const [vitest, tsc] = ['vitest/vitest.mjs', 'typescript/bin/tsc']
const FLAGS = ['run', '--bail=1', '--maxWorkers=1', '--testTimeout=60000']
const TESTS = ['test/migrations/ledger.test.ts', 'test/gateway/db/lane.test.ts', 'test/migrations/histories.test.ts']
const mutations: Mutation[] = JSON.parse(readFileSync(join(import.meta.dirname, 'mutations.json'), 'utf8'))
const [first = 0, last = mutations.length] = process.argv.slice(2).map(Number)
const RUN_MS_MAX = 300_000
const chosen = mutations.slice(first, last)
const uncaught: string[] = []

for (const check of new Map(chosen.map(checkOf).map((check) => [check.join(), check])).values()) {
  const unchanged = run(null, check)
  if (unchanged !== 'passes') throw new Error(`${check}: without a mutation: ${unchanged}`)
}
for (const [place, mutation] of chosen.entries()) {
  const started = performance.now()
  const outcome = run(mutation, checkOf(mutation))
  if (outcome !== 'fails') uncaught.push(mutation.why)
  const said = { fails: 'caught', passes: 'SURVIVED', 'does not end': 'NOT DECIDED' }[outcome]
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(`${String(first + place).padStart(3)} ${said.padEnd(11)} ${seconds.padStart(4)} s  ${mutation.why}`)
}
console.log(`${chosen.length - uncaught.length} of ${chosen.length} caught`)
process.exit(uncaught.length > 0 ? 1 : 0)

/** A program of a package, with its arguments. */
function checkOf({ types = false, tests = TESTS }: Mutation): string[] {
  return types ? [tsc, '-p', '.'] : [vitest, ...FLAGS, ...tests]
}

function run(mutation: Mutation | null, [program, ...args]: string[]): 'passes' | 'fails' | 'does not end' {
  const copy = mkdtempSync(join(tmpdir(), 'ziya-mutation-'))
  for (const part of parts) cpSync(join(root, part), join(copy, part), { recursive: true })
  for (const folder of ['node_modules', 'native']) symlinkSync(join(root, folder), join(copy, folder))
  if (mutation) mutate(join(copy, mutation.file), mutation)
  const { status } = spawnSync(process.execPath, [join(root, 'node_modules', program!), ...args], {
    cwd: copy,
    env: { ...process.env, HISTORIES: '24', ARRIVALS: '20000' },
    stdio: 'ignore',
    timeout: RUN_MS_MAX,
  })
  rmSync(copy, { recursive: true, force: true })
  if (status === null) return 'does not end'
  return status === 0 ? 'passes' : 'fails'
}

function mutate(file: string, { find, replace }: Mutation): void {
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace(find, () => replace),
  )
}
