import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, expect, test } from 'vitest'
import { startPostgres } from '../../local/postgres.ts'
import { eventually } from '../support/stack.ts'

const folder = mkdtempSync(join(tmpdir(), 'ziya-postgres-'))
const data_dir = join(folder, 'data')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function query(url: string, text: string) {
  const sql = postgres(url, { max: 1, fetch_types: false })
  return sql.unsafe(text).finally(() => sql.end({ timeout: 1 }))
}

test('what was stored is there after a stop and a start', async () => {
  const first = await startPostgres({ data_dir })
  await query(first.url, 'create table kept (a int); insert into kept values (7)')
  await first.stop()
  const second = await startPostgres({ data_dir })
  expect(await query(second.url, 'select a from kept')).toMatchObject([{ a: 7 }])
  await second.stop()
})

test('a copy of the folder starts, whoever copied it', async () => {
  const copy = join(folder, 'copy')
  for (const path of ['', '.password']) cpSync(data_dir + path, copy + path, { recursive: true })
  const running = await startPostgres({ data_dir: copy })
  expect(await query(running.url, 'select a from kept')).toMatchObject([{ a: 7 }])
  await running.stop()
})

test('a wrong password does not get in', async () => {
  const running = await startPostgres({ data_dir })
  const url = new URL(running.url)
  url.password = 'wrong'
  await expect(query(url.href, 'select 1')).rejects.toThrow('password authentication failed')
  await running.stop()
})

test('the lock of a server that was killed is no obstacle, though its number is another process’s by now', async () => {
  writeFileSync(join(data_dir, 'postmaster.pid'), `${process.pid}\n${data_dir}\n`)
  const running = await startPostgres({ data_dir })
  expect(await query(running.url, 'select 1 as a')).toMatchObject([{ a: 1 }])
  await running.stop()
})

test('it ends with the process that started it, however that one ends', async () => {
  const script = `
    import { startPostgres } from './local/postgres.ts'
    const { pid } = await startPostgres({ data_dir: ${JSON.stringify(data_dir)} })
    console.log(pid)
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const pid = Number(await new Promise((done) => parent.stdout.once('data', done)))
  expect(isAlive(pid)).toBe(true)
  parent.kill('SIGKILL')
  await eventually(async () => (isAlive(pid) ? null : true))
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
