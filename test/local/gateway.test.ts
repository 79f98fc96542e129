import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type GatewayOptions, startGateway } from '../../local/gateway.ts'
import { freePort, loopbacks } from '../../local/port.ts'
import { startPostgres } from '../../local/postgres.ts'
import { errorOf, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { eventually, putInEnvironment } from '../support/stack.ts'

let db: TestPostgres
let options: GatewayOptions

beforeAll(async () => {
  db = await startTestPostgres()
  const secrets = { ticket_seeds: TICKET_SEED, admin_key: 'a'.repeat(32) }
  options = { port: 0, database_url: db.url, ...secrets, vars: { DATABASE_MS_MAX: '20000' }, log: () => {} }
})
afterAll(() => db?.stop())

test('a busy port is one clear line', async () => {
  const server = await new Promise<Server>((done) => {
    const busy = createServer().listen(0, '127.0.0.1', () => done(busy))
  })
  const { port } = server.address() as AddressInfo
  await expect(startGateway({ ...options, port })).rejects.toThrow(`port ${port} is in use`)
  server.close()
})

test('localhost is ours, whichever address it means: IPv6 is served, and a stranger there is noticed', async () => {
  const port = await freePort()
  const addresses = (await loopbacks()).map((address) => (address.includes(':') ? `[${address}]` : address))
  const gateway = await startGateway({ ...options, port })
  for (const address of addresses) expect((await fetch(`http://${address}:${port}/healthz`)).status).toBe(200)
  await gateway.stop()
  for (const host of await loopbacks()) {
    const stranger = await new Promise<Server>((done) => {
      const busy = createServer().listen(port, host, () => done(busy))
    })
    await expect(startGateway({ ...options, port })).rejects.toThrow(`port ${port} is in use`)
    stranger.close()
  }
})

test('a local folder’s model is served under its own name, with its own price', async () => {
  const local_model = { id: 'my-model', template: 'plain', context: 77 } as const
  const gateway = await startGateway({ ...options, local_model })
  const prices = await db.sql`select version from prices where model = 'my-model'`
  expect(prices).toMatchObject([{ version: 1 }])
  await gateway.stop()
})

test('a missing secret is named in the log, and nothing is served', async () => {
  const log: string[] = []
  const gateway = await startGateway({ ...options, ticket_seeds: 'short', log: (line) => log.push(line) })
  const response = await fetch(`${gateway.url}/healthz`)
  expect(await errorOf(response)).toMatchObject({ status: 500, code: 'internal_error' })
  await eventually(async () => (log.join().includes('TICKET_SEEDS') ? true : null))
  await gateway.stop()
})

test('killed, it leaves nothing of what was started with it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-killed-'))
  const restore = putInEnvironment({ TMPDIR: folder })
  onTestFinished(() => {
    restore()
    rmSync(folder, { recursive: true })
  })
  const gateway = await startGateway(options)
  expect(readdirSync(folder)).not.toEqual([])
  process.kill(gateway.pid, 'SIGKILL')
  await gateway.exited
  expect(readdirSync(folder)).toEqual([])
})

test('it ends with the process that started it, however that one ends', async () => {
  const script = `
    import { startGateway } from './local/gateway.ts'
    const { log, ...options } = ${JSON.stringify(options)}
    console.log((await startGateway(options)).url)
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = String(await new Promise((done) => parent.stdout.once('data', done))).trim()
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
  parent.kill('SIGKILL')
  await eventually(() =>
    fetch(url).then(
      () => null,
      () => true,
    ),
  )
})

test('while the database is away new requests are a 503, and afterwards all settles that was answered', async () => {
  const gateway: TestGateway = await startTestGateway({ DATABASE_MS_MAX: '5000' }) // patience enough for any machine while there is a database
  const caller = await gateway.newCaller()
  const request = { model: 'ziya-coding-mini', prompt: 'x', max_tokens: 5 }
  Object.assign(gateway.node.options, { chunk_ms: 100, completion_tokens: 5 })
  const stream = await caller.post('/v1/completions', { ...request, stream: true })
  let stopped = () => {}
  const outage = new Promise<void>((resolve) => {
    stopped = resolve
  })
  Object.assign(gateway.node.options, { loses_connection: true, before_answer: () => outage })
  const lost = caller.post('/v1/completions', request)
  await eventually(async () => (gateway.node.accepted.length === 2 ? true : null))
  await gateway.db.stopServer()
  stopped()
  expect(await errorOf(await lost)).toMatchObject({ status: 503, code: 'database_unavailable' })

  const refused = await caller.post('/v1/completions', request)
  expect(refused.headers.get('retry-after')).toBe('1')
  expect(await errorOf(refused)).toMatchObject({ status: 503, code: 'database_unavailable' })
  expect(await stream.text()).toContain('data: [DONE]')

  const again = await startPostgres({ data_dir: gateway.db.data_dir, port: Number(new URL(gateway.db.url).port) })
  const id = stream.headers.get('x-request-id')
  await eventually(async () => {
    const usage = (await (await caller.get(`/v1/usage/${id}`)).json()) as { state?: string }
    return usage.state === 'posted' ? true : null
  })
  // Whichever comes first after the outage, the node's report or what gives the money back, the lost answer costs nothing.
  const lost_id = (await lost).headers.get('x-request-id')
  await eventually(async () => {
    const usage = (await (await caller.get(`/v1/usage/${lost_id}`)).json()) as { state: string; entries: object[] }
    return usage.state === 'voided' || usage.entries.length === 2 ? true : null
  })
  await gateway.stop()
  await again.stop()
})
