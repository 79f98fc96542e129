// The table of ways to start, stop, break and resume. Each row is a fact; it begins in a folder of its own and leaves nothing running.

import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect } from 'vitest'
import { freePort } from '../../local/port.ts'
import { startPostgres } from '../../local/postgres.ts'
import { makeClone, type Npm, root, standIns, toolsOnly } from './clone.ts'
import {
  HANG_MS_MAX,
  type LaunchOptions,
  launch,
  nothingLeft,
  processesOf,
  type Run,
  until,
  untilItServes,
} from './run.ts'
import { open, rest, states } from './streams.ts'

export interface Row {
  name: string
  /** Why it cannot run on this machine, if so. */
  unless?: string | false
  /** Where it takes longer than any other. */
  ms_max?: number
  run: (folder: string) => Promise<void>
}

const START_MS_MAX = 90_000

const isRoot = process.getuid?.() === 0

/** One line that begins with ✗ says what went wrong and nothing else does; no stack trace. */
async function expectLine(run: Run, line: RegExp, exit_code = 1): Promise<void> {
  await ends(run)
  expect(
    run
      .output()
      .split('\n')
      .filter((text) => text.startsWith('✗')),
  ).toEqual([expect.stringMatching(line)])
  expect(run.output()).not.toMatch(/^\s+at /m)
  expect(await run.ended).toBe(exit_code)
}

async function ends(run: Run, ms_max = HANG_MS_MAX): Promise<void> {
  let has_ended = false
  void run.ended.then(() => (has_ended = true))
  await until(`it ends\n${run.output()}`, () => has_ended, ms_max)
  await nothingLeft(run)
}

/** The clone and its data folder are whole: a start answers the question and prints the bill. */
async function answers(options: LaunchOptions & { port?: number }): Promise<Run> {
  const data = options.data ?? join(options.clone, '.local')
  const run = launch({
    ...options,
    args: ['--once', '--port', String(options.port ?? (await freePort())), '--data', data],
  })
  await ends(run, START_MS_MAX)
  expect(await run.ended, run.output()).toBe(0)
  expect(run.output()).toMatch(/tokens out: \$0\./)
  return run
}

async function serving({ more = [], ...options }: LaunchOptions & { more?: string[] }): Promise<Run> {
  const data = options.data ?? join(options.clone, '.local')
  const run = launch({ ...options, data, args: ['--port', String(await freePort()), '--data', data, ...more] })
  await untilItServes(run, START_MS_MAX)
  return run
}

// ---- every stage × every way to end it

interface Stage {
  is_fresh?: boolean
  has_begun: (run: Run) => boolean
}

const stages: Record<string, Stage> = {
  install: { is_fresh: true, has_begun: ({ clone }) => countIn(join(clone, 'node_modules')) > 20 },
  build: { is_fresh: true, has_begun: ({ clone }) => existsSync(join(clone, 'native/build/.step-2')) },
  initdb: { has_begun: ({ data }) => countIn(join(data, 'postgres.new')) > 3 },
  migrations: { has_begun: ({ output }) => output().includes('✓ postgres') },
  gateway: { has_begun: ({ output }) => output().includes('✓ migrations') },
  question: { has_begun: ({ output }) => output().includes('✓ first report') },
  serving: { has_begun: ({ output }) => output().includes('Serving until') },
}

function countIn(folder: string): number {
  return existsSync(folder) ? readdirSync(folder).length : 0
}

const ways: Record<string, (run: Run) => Promise<void>> = {
  'Ctrl-C in the terminal': async ({ child }) => void process.kill(-child.pid!, 'SIGINT'),
  'Ctrl-C twice': async ({ child }) => {
    process.kill(-child.pid!, 'SIGINT')
    await sleep(400)
    kill(-child.pid!, 'SIGINT')
  },
  'TERM to npm': async ({ child }) => void child.kill('SIGTERM'),
  'KILL of npm': async ({ child }) => void child.kill('SIGKILL'),
  'KILL of the bootstrap': async (run) =>
    kill(processesOf(run).find(({ command }) => command.includes('bootstrap.mjs'))!.pid, 'SIGKILL'),
  'KILL of the group': async ({ child }) => void process.kill(-child.pid!, 'SIGKILL'),
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended meanwhile.
  }
}

const ended: Row[] = Object.entries(stages).flatMap(([stage, { is_fresh = false, has_begun }]) =>
  Object.entries(ways).map(([way, end]) => ({
    name: `${way} in ${stage}, and again at once`,
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone'), is_fresh })
      const env = is_fresh ? { PATH: `${standIns(join(folder, 'bin'))}:${process.env.PATH}` } : {}
      const port = await freePort()
      const run = launch({ clone, env, args: ['--port', String(port), '--data', join(clone, '.local')] })
      await until(`it comes to ${stage}`, () => has_begun(run), START_MS_MAX)
      await end(run)
      if (way.startsWith('KILL')) return void (await answers({ clone, env })) // at once, whatever still ends
      await ends(run)
      await answers({ clone, env, port })
    },
  })),
)

// ---- a service that loses one of its processes

const lost: Row[] = Object.entries({
  postgres: /bin\/postgres -D/,
  workerd: /workerd serve/,
  node: /gpu-node\/main\.ts/,
}).map(([part, command]) => ({
  name: `KILL of ${part} while it serves: it is started again, and answers`,
  run: async (folder) => {
    const run = await serving({ clone: makeClone({ dir: join(folder, 'clone') }) })
    const victim = processesOf(run).find((process) => command.test(process.command))!
    process.kill(victim.pid, 'SIGKILL')
    await until('the end is said', () => /✗ the \w+ ended \(SIGKILL\); starting it again in/.test(run.output()))
    await until('it runs again', () => /✓ the \w+ runs again/.test(run.output()))
    await until('it answers', () => asks(run))
    process.kill(-run.child.pid!, 'SIGINT')
    await ends(run)
  },
}))

async function asks({ data }: Run): Promise<boolean> {
  const ready = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
  const response = await fetch(`${ready.gateway_url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ready.api_key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: ready.model, prompt: 'def', max_tokens: 4 }),
  }).catch(() => null)
  return response?.ok ?? false
}

// ---- where it stands and who runs it

const DAEMON = 1 // a user of every Unix
const NAMELESS = 12_345

/** Root's home, where other users may not come, as Debian makes it. */
function closedFolder(folder: string): string {
  mkdirSync(join(folder, 'closed'), { mode: 0o700 })
  return join(folder, 'closed')
}

const places: Row[] = [
  {
    name: 'as root below a folder that others may not enter',
    unless: !isRoot && 'needs root',
    run: async (folder) =>
      void (await answers({ clone: makeClone({ dir: join(closedFolder(folder), 'clone'), own_packages: true }) })),
  },
  {
    name: 'as root below a closed folder, killed in initdb and resumed',
    unless: !isRoot && 'needs root',
    run: async (folder) => {
      const clone = makeClone({ dir: join(closedFolder(folder), 'clone'), own_packages: true })
      const run = launch({ clone, args: ['--port', String(await freePort()), '--data', join(clone, '.local')] })
      await until('initdb', () => stages.initdb!.has_begun(run), START_MS_MAX)
      process.kill(-run.child.pid!, 'SIGKILL')
      await answers({ clone })
    },
  },
  {
    name: 'under umask 077',
    run: async (folder) =>
      void (await answers({ clone: makeClone({ dir: join(folder, 'clone') }), before: 'umask 077' })),
  },
  {
    name: 'under umask 077 from a fresh clone',
    run: async (folder) => {
      const env = { PATH: `${standIns(join(folder, 'bin'))}:${process.env.PATH}` }
      await answers({ clone: makeClone({ dir: join(folder, 'clone'), is_fresh: true }), before: 'umask 077', env })
    },
  },
  {
    name: 'as a user without rights in a clone of their own',
    unless: !isRoot && 'needs root, to become somebody else',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      execFileSync('chown', ['-R', '-h', `${DAEMON}:${DAEMON}`, clone])
      chmodSync(folder, 0o755)
      await answers({ clone, user_id: DAEMON })
    },
  },
  {
    name: 'as a user whom the machine has no name for: one line',
    unless: !isRoot && 'needs root, to become somebody else',
    run: async (folder) => {
      chmodSync(folder, 0o755)
      const clone = makeClone({ dir: join(folder, 'clone') })
      mkdirSync(join(folder, 'data'))
      chownSync(join(folder, 'data'), NAMELESS, NAMELESS)
      await expectLine(launch({ clone, user_id: NAMELESS, data: join(folder, 'data') }), /this user needs a name/)
    },
  },
  {
    name: "as a user without rights in somebody else's fresh clone: one line",
    unless: !isRoot && 'needs root, to become somebody else',
    run: async (folder) => {
      chmodSync(folder, 0o755)
      const clone = makeClone({ dir: join(folder, 'clone'), is_fresh: true })
      await expectLine(launch({ clone, user_id: DAEMON, by: 'node' }), /this user may not write here/)
    },
  },
  {
    name: "as a user without rights in somebody else's built clone: one line, and with --data it answers",
    unless: !isRoot && 'needs root, to become somebody else',
    run: async (folder) => {
      chmodSync(folder, 0o755)
      const clone = makeClone({ dir: join(folder, 'clone') })
      await expectLine(launch({ clone, user_id: DAEMON }), /--data DIR/)
      mkdirSync(join(folder, 'data'))
      chownSync(join(folder, 'data'), DAEMON, DAEMON)
      await answers({ clone, user_id: DAEMON, data: join(folder, 'data') })
    },
  },
  {
    name: 'moved after it served: it answers, and keeps its account',
    run: async (folder) => {
      const first = makeClone({ dir: join(folder, 'first') })
      await answers({ clone: first })
      const { api_key } = JSON.parse(readFileSync(join(first, '.local/demo-account.json'), 'utf8'))
      renameSync(first, join(folder, 'moved 中文 é'))
      await answers({ clone: join(folder, 'moved 中文 é') })
      expect(readFileSync(join(folder, 'moved 中文 é/.local/demo-account.json'), 'utf8')).toContain(api_key)
    },
  },
  {
    name: 'copied after it served: both answer',
    run: async (folder) => {
      const first = makeClone({ dir: join(folder, 'first') })
      await answers({ clone: first })
      execFileSync('cp', ['-a', first, join(folder, 'second')])
      await answers({ clone: join(folder, 'second') })
      await answers({ clone: first })
    },
  },
  {
    name: 'a moved clone with something to build forgets where it was built',
    run: async (folder) => {
      const env = { PATH: `${standIns(join(folder, 'bin'))}:${process.env.PATH}` }
      await answers({ clone: makeClone({ dir: join(folder, 'first'), is_fresh: true }), env })
      renameSync(join(folder, 'first'), join(folder, 'second'))
      writeFileSync(join(folder, 'second/native/new.h'), '// a source that changed\n')
      await answers({ clone: join(folder, 'second'), env })
    },
  },
  {
    name: 'a folder with spaces, an accent and another script, from a fresh clone',
    run: async (folder) => {
      const env = { PATH: `${standIns(join(folder, 'bin'))}:${process.env.PATH}` }
      await answers({ clone: makeClone({ dir: join(folder, 'ziya code 中文 é'), is_fresh: true }), env })
    },
  },
]

// ---- what is missing, full or in the way

async function inFresh(folder: string, environment: NodeJS.ProcessEnv, npm: Npm = 'slow'): Promise<LaunchOptions> {
  const clone = makeClone({ dir: join(folder, 'clone'), is_fresh: true })
  return { clone, env: { PATH: `${standIns(join(folder, 'bin'), npm)}:${process.env.PATH}`, ...environment } }
}

function smallDisk(folder: string, megabytes: number): string {
  const dir = join(folder, 'disk')
  mkdirSync(dir)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', dir])
  return dir
}

function mayMount(): boolean {
  if (!isRoot) return false
  try {
    const dir = smallDisk(execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim(), 1)
    execFileSync('umount', [dir])
    return true
  } catch {
    return false
  }
}

const mounts = mayMount()

async function onSmallDisk(folder: string, megabytes: number, use: (disk: string) => Promise<void>): Promise<void> {
  const disk = smallDisk(folder, megabytes)
  await use(disk).finally(() => execFileSync('umount', ['-l', disk]))
}

const missing: Row[] = [
  {
    name: 'a fresh clone with NODE_ENV=production asks npm for everything',
    run: async (folder) => {
      const options = await inFresh(folder, { NODE_ENV: 'production' })
      const npm = join(folder, 'bin/npm')
      writeFileSync(
        npm,
        `#!/bin/sh\necho "$@" > .npm-arguments\n${readFileSync(npm, 'utf8').replace('#!/bin/sh\n', '')}`,
      )
      await answers(options)
      expect(readFileSync(join(options.clone, '.npm-arguments'), 'utf8')).toContain('--include=dev')
    },
  },
  {
    name: 'a registry that never answers the first installation: signs of life, then one line',
    run: async (folder) => {
      const run = launch(await inFresh(folder, {}, 'unanswered'))
      await until('a sign of life', () => /dependencies: waiting for the registry \(\d/.test(run.output()))
      await until('it gives up', () => run.output().includes('✗'), 2 * HANG_MS_MAX)
      await expectLine(run, /^✗ dependencies: the registry did not answer within 30 s/)
    },
  },
  {
    name: 'no network for the first installation: one line; with a network it answers',
    run: async (folder) => {
      const options = await inFresh(folder, {}, 'offline')
      await expectLine(launch(options), /^✗ dependencies: npm install failed .*the registry was not reached/)
      standIns(join(folder, 'bin'))
      await answers(options)
    },
  },
  {
    name: 'no npm: one line',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone'), is_fresh: true })
      const PATH = toolsOnly(join(folder, 'bin'), ['node', 'sh', 'setpriv'])
      await expectLine(launch({ clone, by: 'node', env: { PATH } }), /^✗ dependencies: npm was not found/)
    },
  },
  {
    name: 'no compiler in a fresh clone: one line',
    run: async (folder) => {
      const { clone } = await inFresh(folder, {})
      rmSync(join(folder, 'bin/cmake'))
      const tools = toolsOnly(join(folder, 'tools'), ['node', 'sh', 'ln', 'mkdir', 'basename', 'sleep', '['])
      await expectLine(
        launch({ clone, by: 'node', env: { PATH: `${join(folder, 'bin')}:${tools}` } }),
        /cmake was not found/,
      )
    },
  },
  {
    name: 'node alone, without npm, setpriv, compiler or shell, starts what is built',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      chmodSync(folder, 0o755)
      await answers({ clone, by: 'node', env: { PATH: toolsOnly(join(folder, 'bin'), ['node']) } })
    },
  },
  {
    name: 'root, a closed folder and no setpriv: one line',
    unless: !isRoot && 'needs root',
    run: async (folder) => {
      const clone = makeClone({ dir: join(closedFolder(folder), 'clone') })
      const PATH = toolsOnly(join(folder, 'bin'), ['node', 'sh'])
      await expectLine(launch({ clone, by: 'node', env: { PATH } }), /may not enter .*closed: install setpriv/)
    },
  },
  {
    name: 'a package that is gone: one line',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      rmSync(join(clone, 'node_modules/hono'), { force: true })
      await expectLine(launch({ clone }), /node_modules\/hono is missing; remove node_modules and start again/)
    },
  },
  {
    name: 'two starts at once in a fresh clone: one installs, both answer',
    run: async (folder) => {
      const options = await inFresh(folder, {})
      await Promise.all([
        answers({ ...options, data: join(folder, 'one') }),
        answers({ ...options, data: join(folder, 'two') }),
      ])
    },
  },
  {
    name: 'a second start with the same data folder is refused, and takes nothing from the first',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      const first = await serving({ clone })
      await expectLine(
        launch({ clone, args: ['--port', String(await freePort())] }),
        /already runs with the data folder/,
      )
      expect(await asks(first)).toBe(true)
      process.kill(-first.child.pid!, 'SIGINT')
      await ends(first)
    },
  },
  {
    name: 'a second start on the same port is refused, and takes nothing from the first',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      const first = await serving({ clone })
      const { gateway_url } = JSON.parse(readFileSync(join(first.data, 'ready.json'), 'utf8'))
      const args = ['--port', new URL(gateway_url).port, '--data', join(folder, 'other')]
      await expectLine(launch({ clone, args }), /is in use; choose another with --port/)
      expect(await asks(first)).toBe(true)
      process.kill(-first.child.pid!, 'SIGINT')
      await ends(first)
    },
  },
  {
    name: 'a disk that is full for the installation: one line',
    unless: !mounts && 'may not mount',
    run: (folder) =>
      onSmallDisk(folder, 24, async (disk) => {
        const clone = makeClone({ dir: join(disk, 'clone'), is_fresh: true })
        const bin = standIns(join(folder, 'bin'))
        writeFileSync(
          join(bin, 'npm'),
          '#!/bin/sh\ncat /dev/zero > node_modules/package || { echo "npm error code ENOSPC" >&2; exit 1; }\n',
        )
        await expectLine(launch({ clone, env: { PATH: `${bin}:${process.env.PATH}` } }), /the disk is full/)
      }),
  },
  {
    name: 'a disk that is full for the database: one line, and with room it answers',
    unless: !mounts && 'may not mount',
    run: (folder) =>
      onSmallDisk(folder, 12, async (disk) => {
        const clone = makeClone({ dir: join(folder, 'clone') })
        await expectLine(launch({ clone, data: join(disk, 'data') }), /the disk is full/)
        execFileSync('mount', ['-o', 'remount,size=400m', disk])
        await answers({ clone, data: join(disk, 'data') })
      }),
  },
  {
    name: 'a checkout that can only be read: one line when fresh, and with --data it answers when built',
    unless: !mounts && 'may not mount',
    run: async (folder) => {
      const fresh = makeClone({ dir: join(folder, 'fresh'), is_fresh: true })
      const built = makeClone({ dir: join(folder, 'built') })
      for (const dir of [fresh, built])
        execFileSync('sh', ['-c', 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"', dir])
      try {
        await expectLine(launch({ clone: fresh, by: 'node' }), /can only be read/)
        await expectLine(launch({ clone: built }), /--data DIR/)
        await answers({ clone: built, data: join(folder, 'data') })
      } finally {
        for (const dir of [fresh, built]) execFileSync('umount', ['-l', dir])
      }
    },
  },
  {
    name: 'a data folder that holds something else: one line',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      mkdirSync(join(clone, '.local/postgres'), { recursive: true })
      writeFileSync(join(clone, '.local/postgres/notes.txt'), 'mine')
      await expectLine(launch({ clone }), /holds no database, and is not empty/)
      expect(readFileSync(join(clone, '.local/postgres/notes.txt'), 'utf8')).toBe('mine')
    },
  },
  {
    name: 'a database that accepts and says nothing: Ctrl-C ends it at once',
    run: async (folder) => {
      const { server, port } = await listener()
      const clone = makeClone({ dir: join(folder, 'clone') })
      const run = launch({
        clone,
        args: ['--database', `postgres://u:p@127.0.0.1:${port}/d`, '--port', String(await freePort())],
      })
      await new Promise((resolve) => server.once('connection', resolve))
      process.kill(-run.child.pid!, 'SIGINT')
      await ends(run, 8000)
      server.close()
    },
  },
  {
    name: 'a database that is not there: one line',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      const url = `postgres://u:p@127.0.0.1:${await freePort()}/d`
      await expectLine(launch({ clone, args: ['--database', url, '--port', String(await freePort())] }), /ECONNREFUSED/)
    },
  },
  {
    name: 'a proxy in the environment is not asked for what is on this machine',
    run: async (folder) => {
      const proxy = { http_proxy: 'http://127.0.0.1:9', https_proxy: 'http://127.0.0.1:9', NODE_USE_ENV_PROXY: '1' }
      await answers({ clone: makeClone({ dir: join(folder, 'clone') }), env: proxy })
    },
  },
  {
    name: 'settings of a node in the environment are not those of ours',
    run: async (folder) =>
      void (await answers({
        clone: makeClone({ dir: join(folder, 'clone') }),
        env: { ZIYA_NODE_BLOCKS: '1', ZIYA_NODE_PORT: '1' },
      })),
  },
  {
    name: 'a stale ready.json and stale locks of a crash are no obstacle',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      await answers({ clone })
      writeFileSync(join(clone, '.local/ready.json'), '{"gateway_url":"http://127.0.0.1:9"}')
      writeFileSync(join(clone, '.local/postgres/postmaster.pid'), `${process.pid}\n`)
      await answers({ clone })
    },
  },
]

async function listener(): Promise<{ server: Server; port: number }> {
  const server = createServer(() => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as { port: number }).port }
}

// ---- what is answered at once in a fresh clone

const answered: Row[] = (
  [
    [['--help'], /--port N/, 0],
    [['-h'], /--port N/, 0],
    [['--version'], /^\d+\.\d+\.\d+$/m, 0],
    [['--port', 'abc'], /^✗ --port abc is not a port/m, 2],
    [['--ports', '1'], /^✗ .*--ports/m, 2],
    [['--database', 'mysql://x'], /^✗ the database must be a postgres:\/\/ URL/m, 2],
  ] as const
).map(([args, line, exit_code]) => ({
  name: `${args.join(' ')} is answered in a fresh clone, before anything is installed`,
  run: async (folder) => {
    const clone = makeClone({ dir: join(folder, 'clone'), is_fresh: true })
    const run = launch({ clone, args: [...args], env: { PATH: toolsOnly(join(folder, 'bin'), ['node', 'sh', 'env']) } })
    await ends(run)
    expect(run.output()).toMatch(line)
    expect(await run.ended).toBe(exit_code)
    expect(existsSync(join(clone, 'node_modules'))).toBe(false)
  },
}))

// ---- models

function modelNamed(folder: string, id: string): string {
  const dir = join(folder, id)
  cpSync(join(root, 'models/ziya-coding-mini'), dir, { recursive: true })
  return dir
}

async function catalogOf(folder: string, args: string[]): Promise<string> {
  const clone = makeClone({ dir: join(folder, 'clone') })
  const run = launch({ clone, args: ['--once', '--port', String(await freePort()), ...args] })
  await ends(run, START_MS_MAX)
  expect(await run.ended, run.output()).toBe(0)
  return run.output()
}

const models: Row[] = [
  {
    name: 'a folder with the name of a catalog row is served with its template and at its price',
    run: async (folder) => {
      const output = await catalogOf(folder, ['--model', modelNamed(folder, 'Ziya-Coding-34B-v1.0')])
      expect(output).toContain('template ziya-coding, as the catalog says')
      const [, prompt, made, cost] = /(\d+) tokens in, (\d+) tokens out: \$0\.(\d{9})/.exec(output)!
      expect(Number(cost)).toBe(Number(prompt) * 600 + Number(made) * 1800)
    },
  },
  {
    name: 'any other folder says which template was chosen and why',
    run: async (folder) =>
      expect(await catalogOf(folder, ['--model', modelNamed(folder, 'my-model')])).toContain(
        'template plain, because my-model is not in the catalog; --template chooses another',
      ),
  },
  {
    name: '--template chooses',
    run: async (folder) => {
      const args = ['--model', modelNamed(folder, 'my-model'), '--template', 'ziya-coding']
      expect(await catalogOf(folder, args)).toContain('template ziya-coding, as --template says')
    },
  },
  {
    name: 'a template that is none: one line',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      const args = ['--model', modelNamed(folder, 'my-model'), '--template', 'chatml']
      await expectLine(
        launch({ clone, args: [...args, '--port', String(await freePort())] }),
        /--template chatml is not one of/,
      )
    },
  },
]

// ---- what a deployment copies

const packaged: Row[] = [
  {
    name: 'the package starts in an empty folder on a machine with node alone',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      execFileSync(join(root, 'node_modules/.bin/node'), ['local/package.ts'], { cwd: clone })
      const [archive] = readdirSync(join(clone, 'dist'))
      mkdirSync(join(folder, 'deployed'))
      chmodSync(folder, 0o755)
      execFileSync('tar', [
        '-xzf',
        join(clone, 'dist', archive!),
        '-C',
        join(folder, 'deployed'),
        '--strip-components=1',
      ])
      const PATH = toolsOnly(join(folder, 'bin'), ['node'])
      await answers({ clone: join(folder, 'deployed'), by: 'node', env: { PATH } })
    },
  },
]

// ---- starts over what a kill left

const STARTS = Number(process.env.GROUND_STARTS ?? 50)

/** SIGKILL of every process at once, as a machine that loses its power does. */
function killAll(run: Run): void {
  for (const { pid } of processesOf(run)) kill(pid, 'SIGKILL')
}

const resumed: Row[] = [
  {
    name: `${STARTS} starts, each at once after SIGKILL of everything: each answers at the first try`,
    ms_max: STARTS * 60_000,
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      for (let start = 1; start <= STARTS; start++) {
        const run = await serving({ clone })
        expect(run.output(), `start ${start}`).toMatch(/tokens out: \$0\./)
        expect(run.output(), `start ${start}`).not.toContain('asking again')
        killAll(run)
        if (start === STARTS) await ends(run)
      }
    },
  },
  {
    name: 'killed under streams, started on another database and then on its own: each bill is where it is owed',
    run: async (folder) => {
      const clone = makeClone({ dir: join(folder, 'clone') })
      const data = join(clone, '.local')
      const first = await serving({ clone })
      const ready = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
      const streams = await Promise.all(Array.from({ length: STREAMS }, () => open(ready)))
      killAll(first)
      await Promise.allSettled(streams.map(rest))
      const other = await startPostgres({ data_dir: join(folder, 'other'), durable: false })
      const second = await serving({ clone, more: ['--database', other.url] })
      await until('the node says what it keeps', () =>
        /is kept until/.test(readFileSync(join(data, 'node.log'), 'utf8')),
      )
      process.kill(-second.child.pid!, 'SIGINT')
      await ends(second)
      expect(await anomaliesOf(other.url)).toEqual([])
      await other.stop()
      await answers({ clone })
      expect(await states(data)).toEqual([{ state: 'posted', count: STREAMS + 2 }]) // and two demo questions
    },
  },
]

const STREAMS = 64

async function anomaliesOf(database_url: string): Promise<object[]> {
  const sql = postgres(database_url, { max: 1, fetch_types: false })
  const found = await sql`select kind, request_id from anomalies`
  await sql.end()
  return [...found]
}

export const rows: Row[] = [...answered, ...ended, ...lost, ...places, ...missing, ...models]
/** Too long to be drawn for npm test. */
export const long_rows: Row[] = [...resumed, ...packaged]
