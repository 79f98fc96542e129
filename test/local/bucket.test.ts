// Where files lie on a machine of one's own: the same uploads to a folder, and to a service that speaks S3 and believes only what is signed.

import { createHash, createHmac } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bucketIn } from '../../local/bucket.ts'
import { startTestGateway, type TestGateway } from '../support/gateway.ts'

const S3 = { region: 'eu-test-1', key_id: 'AKIDEXAMPLE', secret: 'a secret of the test' }

interface Store {
  server: Server
  url: string
  objects: Map<string, Buffer>
  /** It is out of order, and says so. */
  is_down: boolean
}

async function startS3(): Promise<Store> {
  const objects = new Map<string, Buffer>()
  const store = { objects, is_down: false }
  const server = createServer(async (request, answer) => {
    const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
    const status = () => {
      if (store.is_down) return 503
      if (signatureOf(request, body) !== /Signature=(\w+)/.exec(request.headers.authorization ?? '')?.[1]) return 403
      if (request.method === 'PUT') objects.set(request.url!, body)
      if (request.method === 'DELETE') return objects.delete(request.url!) ? 204 : 404
      return objects.has(request.url!) ? 200 : 404
    }
    answer.writeHead(status()).end(request.method === 'GET' ? objects.get(request.url!) : undefined)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return Object.assign(store, { server, url: `http://127.0.0.1:${port}/bucket` })
}

const hash = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const hmac = (key: Buffer | string, text: string) => createHmac('sha256', key).update(text).digest()

/** Signature Version 4, as AWS documents it. */
function signatureOf({ method, url, headers }: IncomingMessage, body: Buffer): string {
  const [, scope, names] = /Credential=[^/]+\/([^,]+), SignedHeaders=([^,]+)/.exec(headers.authorization ?? '') ?? [
    '',
    '',
    '',
  ]
  const content = String(headers['x-amz-content-sha256'])
  if (content !== 'UNSIGNED-PAYLOAD' && content !== hash(body)) return 'of another body'
  const signed = names!.split(';').map((name) => `${name}:${headers[name]}\n`)
  const canonical = [method, url, '', signed.join(''), names, content].join('\n')
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hash(canonical)].join('\n')
  const key = scope!.split('/').reduce<Buffer | string>((from, part) => hmac(from, part), `AWS4${S3.secret}`)
  return hmac(key, text).toString('hex')
}

const folder = mkdtempSync(join(tmpdir(), 'ziya-bucket-'))
let s3: Store

beforeAll(async () => {
  s3 = await startS3()
})
afterAll(() => {
  s3?.server.close()
  rmSync(folder, { recursive: true, force: true })
})

const inFolder = () => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())

describe.each([
  { kind: 'a folder', files: () => ({ folder }), count: () => inFolder().length },
  { kind: 'S3', files: () => ({ ...S3, url: s3.url }), count: () => s3.objects.size },
])('files in $kind', ({ files, count }) => {
  let gateway: TestGateway
  let client: OpenAI

  beforeAll(async () => {
    gateway = await startTestGateway({}, undefined, undefined, { files: files() })
    client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: (await gateway.newCaller()).api_key, maxRetries: 0 })
  })
  afterAll(() => gateway?.stop())

  test('are written, read and deleted, and nothing of them is left', async () => {
    const bytes = Buffer.alloc((2 << 20) + 10, 'line\n')
    const { id } = await client.files.create({ file: await toFile(bytes, 'a.jsonl'), purpose: 'batch' })
    expect(count()).toBe(2)
    expect(Buffer.from(await (await client.files.content(id)).arrayBuffer())).toEqual(bytes)
    await client.files.delete(id)
    await gateway.runScheduled()
    expect(count()).toBe(0)
  })

  test('that cannot be written are refused, to be sent again', async () => {
    s3.is_down = true
    const asked = client.files.create({ file: await toFile(Buffer.from('{}'), 'a.jsonl'), purpose: 'batch' })
    const outcome = await asked.then(
      () => 200,
      ({ status }) => status,
    )
    s3.is_down = false
    expect(outcome).toBe('url' in files() ? 503 : 200)
  })
})

test('a folder of files is its owner’s alone', () => {
  expect(statSync(folder).mode & 0o777).toBe(0o700)
})

test('a service is named by the environment, whole or not at all', () => {
  const whole = { FILES_S3_URL: 'https://s3.example/b', FILES_S3_KEY_ID: 'k', FILES_S3_SECRET: 's' }
  expect(bucketIn({})).toBeNull()
  expect(bucketIn(whole)).toEqual({ url: 'https://s3.example/b', region: 'auto', key_id: 'k', secret: 's' })
  expect(() => bucketIn({ ...whole, FILES_S3_SECRET: undefined })).toThrow('FILES_S3_SECRET')
  expect(() => bucketIn({ ...whole, FILES_S3_URL: 'ftp://x' })).toThrow('FILES_S3_URL')
})
