// `npm start` as a newcomer runs it, and the ways in which it cannot start. Every process it starts carries a mark in its
// environment, so that one left behind is found.

import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { codeIn } from '../../eval/recipe.ts'
import { freePort } from '../../local/port.ts'
import { readStartOptions } from '../../local/start-options.mjs'
import { openSandbox } from '../../sandbox/sandbox.ts'
import { eventually } from '../support/stack.ts'

const root = dirname(dirname(import.meta.dirname))
const scratch = mkdtempSync(join(tmpdir(), 'ziya-start-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

interface Run {
  child: ChildProcess
  mark: string
  output: () => string
  ended: Promise<number | null>
}

function start(args: string[], environment: NodeJS.ProcessEnv = {}): Run {
  const mark = `mark-${crypto.randomUUID()}`
  const child = spawn('npm', ['start', '--', ...args], {
    cwd: root,
    env: { ...process.env, ZIYA_TEST_MARK: mark, ...environment },
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => (output += data))
  return { child, mark, output: () => output, ended: new Promise((resolve) => child.on('close', resolve)) }
}

function leftRunning(mark: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => readIfThere(`/proc/${pid}/environ`).includes(mark))
    .map((pid) => readIfThere(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))
    .filter((command) => command !== '') // a zombie has none
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // it ended while we looked
  }
}

const nothingLeft = (mark: string) =>
  eventually(async () => (leftRunning(mark).length === 0 ? true : null)).catch(() => {
    throw new Error(`left running: ${leftRunning(mark).join('\n')}`)
  })

async function expectRefusal(run: Run, line: RegExp) {
  expect(await run.ended).not.toBe(0)
  expect(run.output()).toMatch(line)
  expect(run.output()).not.toMatch(/^\s+at /m) // no stack trace
  await nothingLeft(run.mark)
}

/** Fails where it ends instead. */
async function untilItServes(run: Run): Promise<void> {
  const ended = run.ended.then((code) => {
    throw new Error(`it ended with ${code}: ${run.output()}`)
  })
  await Promise.race([ended, eventually(async () => (run.output().includes('Serving until Ctrl-C') ? true : null))])
}

test('npm start -- --once streams a quicksort that sorts, prints its bill, and leaves nothing running', async () => {
  const data = join(scratch, 'once')
  const run = start(['--once', '--port', String(await freePort()), '--data', data])
  expect(await run.ended, run.output()).toBe(0)
  const output = run.output()
  expect(output).toContain('写一段快速排序')
  expect(output).toMatch(/\d+ tokens in, \d+ tokens out: \$0\.\d{9}/)
  expect(output).toMatch(/balance +\$9\.\d{9}/)
  expect(output).toContain('curl ')

  const code = codeIn(output)
  const name = /def (\w+)\(/.exec(code)![1]
  const { sandbox } = await openSandbox()
  const tests = `
import random
for _ in range(200):
    numbers = [random.randint(-50, 50) for _ in range(random.randint(0, 40))]
    result = ${name}(list(numbers))
    assert result == sorted(numbers), (numbers, result)
`
  const { passed, failure } = await sandbox.judge({ language: 'python', candidate: code, tests })
  await sandbox.close()
  expect(passed, `${failure}\n${code}`).toBe(true)
  // A sort by itself: a call of sorted() would prove nothing.
  expect(code).not.toMatch(/sorted\(|\.sort\(/)

  expect(existsSync(join(data, 'ready.json'))).toBe(false)
  await nothingLeft(run.mark)
})

test('it serves until Ctrl-C, which stops every process', async () => {
  const data = join(scratch, 'serve')
  const run = start(['--port', String(await freePort()), '--data', data])
  await untilItServes(run)
  const ready = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
  expect(Object.keys(ready)).toEqual(
    expect.arrayContaining(['gateway_url', 'api_key', 'admin_key', 'database_url', 'node_url']),
  )
  const models = await fetch(`${ready.gateway_url}/v1/models`, {
    headers: { authorization: `Bearer ${ready.api_key}` },
  })
  expect(models.status).toBe(200)
  process.kill(-run.child.pid!, 'SIGINT') // as a terminal does it: the whole group
  await run.ended
  await nothingLeft(run.mark)
})

test('a busy port is refused in one line', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const run = start(['--once', '--port', String(port), '--data', join(scratch, 'busy')])
  await expectRefusal(run, new RegExp(`^✗ .*port ${port} is in use`, 'm'))
  server.close()
})

test('a folder without a model is refused in one line', async () => {
  const args = ['--once', '--port', String(await freePort()), '--data', join(scratch, 'no-model'), '--model', scratch]
  await expectRefusal(start(args), /^✗ .*config\.json/m)
})

test('a model without rope_theta is refused by name', async () => {
  const model = join(scratch, 'no-theta')
  const { rope_theta: _, ...config } = JSON.parse(
    readFileSync(join(root, 'models/ziya-coding-mini/config.json'), 'utf8'),
  )
  mkdirSync(model)
  for (const file of ['tokenizer.model', 'model.safetensors', 'generation_config.json'])
    symlinkSync(join(root, 'models/ziya-coding-mini', file), join(model, file))
  writeFileSync(join(model, 'config.json'), JSON.stringify(config))
  const args = ['--once', '--port', String(await freePort()), '--data', join(scratch, 'theta'), '--model', model]
  await expectRefusal(start(args), /^✗ .*rope_theta/m)
})

test('an adapter that is none is refused by name, and one without a name at once', async () => {
  const folder = join(scratch, 'no-adapter')
  mkdirSync(folder)
  writeFileSync(
    join(folder, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'IA3', r: 8, lora_alpha: 8, target_modules: ['q_proj'] }),
  )
  const args = ['--once', '--port', String(await freePort()), '--data', join(scratch, 'adapter')]
  await expectRefusal(
    start([...args, '--lora', `sql=${folder}`]),
    /^✗ .*adapter_unsupported.*no-adapter.*peft_type is "IA3"/m,
  )
  for (const wrong of ['sql', '=x', 'a/b=x', 'sql='])
    expect(readStartOptions(['--lora', wrong])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--lora', 'a=/x', '--lora', 'b=/y=z'])).toMatchObject({
    options: {
      adapters: [
        { name: 'a', dir: '/x' },
        { name: 'b', dir: '/y=z' },
      ],
    },
  })
  expect(readStartOptions(['--lora', 'a=/x', '--upstream', 'http://x'])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--weights', 'fp8', '--upstream', 'http://x'])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--weights', 'int4'])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--tensor-parallel', '2', '--upstream', 'http://x'])).toMatchObject({ exit_code: 2 })
  for (const wrong of ['0', '9', 'two'])
    expect(readStartOptions(['--tensor-parallel', wrong])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--tensor-parallel', '2'])).toMatchObject({ options: { tensor_parallel: 2 } })
  expect(readStartOptions([])).toMatchObject({ options: { tensor_parallel: 1 } })
  expect(readStartOptions(['--weights', 'fp8'])).toMatchObject({ options: { weights: 'fp8', kv_cache: 'fp16' } })
  expect(readStartOptions(['--kv-cache', 'fp8', '--upstream', 'http://x'])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--kv-cache', 'int4'])).toMatchObject({ exit_code: 2 })
  expect(readStartOptions(['--kv-cache', 'fp8'])).toMatchObject({ options: { weights: 'fp16', kv_cache: 'fp8' } })
})

/** Node, npm and a shell alone: no compiler, and no setpriv. */
function bareMachine(): string {
  const path = join(scratch, 'bin')
  if (existsSync(path)) return path
  mkdirSync(path)
  symlinkSync(process.execPath, join(path, 'node'))
  const folders = process.env.PATH!.split(':')
  for (const tool of ['npm', 'sh', 'env'])
    symlinkSync(folders.map((folder) => join(folder, tool)).find(existsSync)!, join(path, tool))
  return path
}

test('what is built starts without a compiler and without setpriv, and a kill of it leaves nothing running', async () => {
  chmodSync(scratch, 0o711) // without setpriv a server that root starts may pass only what every user may
  const args = ['--port', String(await freePort()), '--data', join(scratch, 'bare')]
  const run = start(args, { PATH: bareMachine() })
  await untilItServes(run)
  process.kill(run.child.pid!, 'SIGKILL')
  await nothingLeft(run.mark)
})

test('a missing compiler is refused in one line where something is to build', async () => {
  const run = start(['--once'], { PATH: bareMachine(), ZIYA_CUDA: 'not built yet' })
  await expectRefusal(run, /^✗ native addon: cmake was not found/m)
})

test('an unknown option is refused with the usage', async () => {
  await expectRefusal(start(['--ports', '1']), /^✗ .*--ports[\s\S]*--port N/m)
})
