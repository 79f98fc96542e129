// Thousands of random histories: of the ledger, while connections and gateways are killed and Postgres itself crashes (an immediate stop,
// which loses what was not durable), and between them of nodes that are killed, with damaged journals and restored databases. Prints a
// table. Progress is kept in .local/soak.json: a run that was stopped goes on where it was.
//   npm run soak [histories=20000]     SEED=n chooses the plans, RESTART=1 begins anew

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '../local/migrate.ts'
import { freePort } from '../local/port.ts'
import { type PostgresOptions, type RunningPostgres, startPostgres } from '../local/postgres.ts'
import { Histories } from './support/histories.ts'
import { type Happened, nodeHistory, nothing, RestorableLedger } from './support/node-histories.ts'

interface Progress {
  seed: number
  histories: number
  of_nodes: number // of them
  calls: number
  connections_killed: number
  gateways_killed: number
  postgres_crashes: number
  unknown_outcomes: number
  refused_statements: number
  node: Happened
  seconds: number
  findings: string[]
}

const HISTORIES_A_CRASH = 70
const HISTORIES_A_DATABASE = 350 // in a larger one it is the checks between histories that take the time
const NODE_HISTORIES_A_DATABASE = 70
const GATEWAY_LIVES_MS_MAX = 1500
const file = join(import.meta.dirname, '../.local/soak.json')
const wanted = Number(process.argv[2] ?? 20_000)
const progress = readProgress()

while (isToGoOn()) {
  await timed(soakOneDatabase)
  if (isToGoOn()) await timed(soakNodes)
}
printTable()
process.exit(progress.findings.length > 0 || progress.refused_statements > 0 ? 1 : 0)

function isToGoOn(): boolean {
  return progress.histories < wanted && progress.findings.length === 0
}

function readProgress(): Progress {
  if (existsSync(file) && !process.env.RESTART) return JSON.parse(readFileSync(file, 'utf8'))
  const killed = { connections_killed: 0, gateways_killed: 0, postgres_crashes: 0 }
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
  const counts = { histories: 0, of_nodes: 0, calls: 0, ...killed, unknown_outcomes: 0, refused_statements: 0 }
  return { seed, ...counts, node: nothing(), seconds: 0, findings: [] }
}

async function timed(work: () => Promise<void>): Promise<void> {
  const started = performance.now()
  await work()
  progress.seconds += Math.round((performance.now() - started) / 1000)
  save()
}

function save(): void {
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, JSON.stringify(progress, null, 2))
}

async function soakOneDatabase(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-soak-'))
  // Without fsync: what Postgres has written outlives its process, and what it only holds in memory does not, as with it.
  const where = { data_dir: join(folder, 'data'), port: await freePort(), durable: false }
  let server = await startPostgres(where)
  await migrate(server.url)
  // A new connection plans everything again, and each crash makes all of them new: fewer need be killed besides.
  const histories = new Histories({
    database_url: server.url,
    forgets: true,
    at_once: HISTORIES_A_CRASH,
    calls_a_kill: 1000,
  })
  await histories.prepare()
  const until = Math.min(wanted, progress.histories + HISTORIES_A_DATABASE)
  while (progress.histories < until && progress.findings.length === 0) {
    const crash = sleep(300 + Math.random() * 2500).then(async () => {
      server = await crashAndRestart(server, where)
    })
    await soakSome(histories, Math.min(until, progress.histories + HISTORIES_A_CRASH))
    await crash
  }
  await histories.stop()
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
}

/** Some histories, in the middle of which Postgres crashes. What they did is added to the progress once they are over. */
async function soakSome(histories: Histories, to: number): Promise<void> {
  const calls = histories.calls
  const killing = histories.killConnections()
  const gateways = killGateways(histories)
  const log = console.error
  console.error = (line: unknown) => {
    progress[/refused|deadlock/.test(String(line)) ? 'refused_statements' : 'unknown_outcomes'] += 1
    if (/refused|deadlock/.test(String(line))) log(line)
  }
  const { seed, histories: from } = progress
  progress.findings = await histories.runAll({ seed, from, to, onDone: () => {} })
  console.error = log
  killing.stop()
  progress.gateways_killed += gateways.stop()
  progress.histories = to
  progress.calls += histories.calls - calls
  progress.connections_killed += killing.kills()
  save()
}

/** One after another, until told to stop; answers how many. */
function killGateways(histories: Histories): { stop: () => number } {
  let killed = 0
  let timer: ReturnType<typeof setTimeout>
  const next = () => {
    timer = setTimeout(
      () => {
        histories.killGateway()
        killed += 1
        next()
      },
      200 + Math.random() * GATEWAY_LIVES_MS_MAX,
    )
  }
  next()
  return {
    stop: () => {
      clearTimeout(timer)
      return killed
    },
  }
}

/** Nodes that die, and whose ledger is brought back as it was. */
async function soakNodes(): Promise<void> {
  const ledger = await RestorableLedger.start()
  for (let i = 0; i < NODE_HISTORIES_A_DATABASE && isToGoOn(); i++) {
    const { seed, histories } = progress
    const findings = await nodeHistory(ledger, seed + histories, progress.node)
    progress.findings = findings.map((finding) => `history ${histories} of seed ${seed}, of a node: ${finding}`)
    progress.histories += 1
    progress.of_nodes += 1
  }
  await ledger.stop()
}

async function crashAndRestart(server: RunningPostgres, where: PostgresOptions): Promise<RunningPostgres> {
  process.kill(server.pid, 'SIGQUIT') // the immediate stop: no checkpoint, recovery from the log at the next start
  await server.stop()
  const again = await startPostgres(where)
  progress.postgres_crashes += 1
  return again
}

function printTable(): void {
  const { findings, seconds, node, ...counts } = progress
  for (const [name, value] of Object.entries({ ...counts, ...node }))
    console.log(`| ${name.replaceAll('_', ' ')} | ${value} |`)
  console.log(`| violations | ${findings.length} |`)
  console.log(`| minutes | ${(seconds / 60).toFixed(1)} |`)
  for (const finding of findings) console.log(finding)
}
