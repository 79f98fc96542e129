// /v1/files, by the official client and by bytes: uploads that are whole, wrong, too large, cut; what is read of them, by whom, and that
// nothing of them is left when they are gone.

import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PART_BYTES } from '../../gateway/files/part.ts'
import { draws } from '../support/draws.ts'
import { type Caller, errorOf, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'
import { randomFrom, seededRandom } from '../support/random.ts'

// A file that is too large is as wrong when it is small, and sooner sent.
const MEGABYTES = draws('UPLOAD_MB', { few: 24, all: 190 })
const FILE_BYTES_MAX = (MEGABYTES + 1) << 20

let gateway: TestGateway
let caller: Caller
let client: OpenAI
const folder = mkdtempSync(join(tmpdir(), 'ziya-test-files-'))
const random = seededRandom()

beforeAll(async () => {
  gateway = await startTestGateway(
    { FILE_BYTES_MAX: String(FILE_BYTES_MAX), ACCOUNT_FILE_BYTES_MAX: '500000000' },
    undefined,
    undefined,
    { files: { folder } },
  )
  caller = await gateway.newCaller()
  client = clientOf(caller)
})
afterAll(async () => {
  await gateway?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const clientOf = ({ api_key }: Caller) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: api_key, maxRetries: 0 })

const objects = () => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())

const upload = (bytes: Uint8Array | string, name = 'lines.jsonl', by = client) =>
  toFile(Buffer.from(bytes), name).then((file) => by.files.create({ file, purpose: 'batch' }))

const bytesOf = async (id: string, headers: Record<string, string> = {}) => {
  const answer = await client.files.content(id, { headers })
  return Buffer.from(await answer.arrayBuffer())
}

function noise(length: number, seed: number): Buffer {
  const drawn = randomFrom(seed)
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 4096)
    bytes.fill(drawn.below(256), at, Math.min(length, at + 1 + drawn.below(4096)))
  return bytes
}

describe('a file', () => {
  test('is uploaded from a stream, shown, listed, read whole and by ranges, and deleted', async () => {
    const path = join(folder, '..', `upload-${random.seed}.jsonl`)
    const bytes = noise(PART_BYTES * 2 + 77, random.seed)
    writeFileSync(path, bytes)
    const made = await client.files.create({
      file: createReadStream(path),
      purpose: 'batch',
      expires_after: { anchor: 'created_at', seconds: 3600 },
    })
    rmSync(path)
    expect(made).toMatchObject({ object: 'file', bytes: bytes.length, purpose: 'batch', status: 'processed' })
    expect(made.expires_at! - made.created_at).toBeLessThanOrEqual(3601)
    expect(await client.files.retrieve(made.id)).toEqual(made)
    expect(await client.files.waitForProcessing(made.id)).toEqual(made)
    const listed = await client.files.list({ purpose: 'batch', limit: 1 })
    expect(listed.data).toEqual([made])
    expect(await bytesOf(made.id)).toEqual(bytes)
    for (const [range, begin, end] of [
      ['0-0', 0, 1],
      [`${PART_BYTES - 1}-${PART_BYTES}`, PART_BYTES - 1, PART_BYTES + 1],
      [`${PART_BYTES * 2}-`, PART_BYTES * 2, bytes.length],
      ['-10', bytes.length - 10, bytes.length],
      [`5-${10 ** 12}`, 5, bytes.length],
    ] as const)
      expect(await bytesOf(made.id, { range: `bytes=${range}` })).toEqual(bytes.subarray(begin, end))
    const beyond = await fetch(`${gateway.url}/v1/files/${made.id}/content`, {
      headers: { authorization: `Bearer ${caller.api_key}`, range: `bytes=${bytes.length}-` },
    })
    expect(beyond.headers.get('content-range')).toBe(`bytes */${bytes.length}`)
    expect(await errorOf(beyond)).toMatchObject({ status: 416, code: 'range_not_satisfiable' })
    expect(await client.files.delete(made.id)).toEqual({ id: made.id, object: 'file', deleted: true })
    await expect(client.files.retrieve(made.id)).rejects.toMatchObject({ status: 404 })
    await gateway.runScheduled()
    expect(objects()).toEqual([])
    expect(await gateway.db.sql`select from files union all select from file_parts`).toHaveLength(0)
  })

  test('is seen by keys of its account alone, and cannot be read where it lies', async () => {
    const { id } = await upload('a secret '.repeat(100))
    const stranger = clientOf(await gateway.newCaller())
    for (const asking of [
      () => stranger.files.retrieve(id),
      () => stranger.files.content(id),
      () => stranger.files.delete(id),
      () => client.files.retrieve('file-x'),
    ])
      await expect(asking()).rejects.toMatchObject({ status: 404, code: 'not_found' })
    expect((await stranger.files.list()).data).toEqual([])
    const [object] = objects()
    expect(readFileSync(join(object!.parentPath, object!.name), 'latin1')).not.toContain('secret')
    await client.files.delete(id)
  })

  test('is gone when its time is over, and is listed page by page', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) await upload(name, name)
    const paged = []
    for await (const { filename } of client.files.list({ limit: 2, order: 'asc' })) paged.push(filename)
    expect(paged).toEqual(names)
    await gateway.db.sql`update files set expires_at = clock_timestamp()`
    expect((await client.files.list()).data).toEqual([])
    await gateway.runScheduled()
    expect(objects()).toEqual([])
  })
})

interface Piece {
  head: string
  body: Buffer | string
}

const BOUNDARY = 'x-boundary-of-the-test'
const FILE: Piece = { head: 'content-disposition: form-data; name="file"; filename="a.jsonl"', body: '{}\n' }
const PURPOSE: Piece = { head: 'content-disposition: form-data; name="purpose"', body: 'batch' }
const field = (name: string, body: string): Piece => ({ head: `content-disposition: form-data; name="${name}"`, body })

function formOf(pieces: Piece[], { closing = `--${BOUNDARY}--\r\n`, opening = '' } = {}): Buffer {
  const all = pieces.flatMap(({ head, body }) => [`--${BOUNDARY}\r\n${head}\r\n\r\n`, body, '\r\n'])
  return Buffer.concat([opening, ...all, closing].map((part) => Buffer.from(part as string)))
}

const send = (body: Uint8Array | ReadableStream<Uint8Array>, headers: Record<string, string> = {}) =>
  fetch(`${gateway.url}/v1/files`, {
    method: 'POST',
    body,
    duplex: 'half',
    headers: {
      authorization: `Bearer ${caller.api_key}`,
      'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
      ...headers,
    },
  } as RequestInit)

describe('a form', () => {
  test.each<[string, Buffer, { status: number; code: string; param?: string | null }, Record<string, string>?]>([
    ['without a file', formOf([PURPOSE]), { status: 400, code: 'missing_required_parameter', param: 'file' }],
    ['without a purpose', formOf([FILE]), { status: 400, code: 'missing_required_parameter', param: 'purpose' }],
    [
      'with another purpose',
      formOf([FILE, field('purpose', 'fine-tune')]),
      { status: 400, code: 'invalid_value', param: 'purpose' },
    ],
    [
      'with a field that is not known',
      formOf([FILE, PURPOSE, field('x', '1')]),
      { status: 400, code: 'unknown_parameter', param: 'x' },
    ],
    [
      'with a wrong time',
      formOf([FILE, PURPOSE, field('expires_after[seconds]', '1')]),
      { status: 400, code: 'invalid_value', param: 'expires_after[seconds]' },
    ],
    [
      'with a wrong anchor',
      formOf([FILE, PURPOSE, field('expires_after[anchor]', 'now')]),
      { status: 400, code: 'invalid_value', param: 'expires_after[anchor]' },
    ],
    [
      'with a field that is long',
      formOf([FILE, field('purpose', 'x'.repeat(2000))]),
      { status: 400, code: 'invalid_value', param: 'purpose' },
    ],
    ['with two files', formOf([FILE, FILE, PURPOSE]), { status: 400, code: 'invalid_form' }],
    ['with the purpose twice', formOf([FILE, PURPOSE, PURPOSE]), { status: 400, code: 'invalid_form' }],
    [
      'with a file of another name',
      formOf([{ ...FILE, head: FILE.head.replace('"file"', '"data"') }, PURPOSE]),
      { status: 400, code: 'unknown_parameter', param: 'data' },
    ],
    [
      'whose file has no filename',
      formOf([field('file', '{}'), PURPOSE]),
      { status: 400, code: 'invalid_value', param: 'file' },
    ],
    [
      'whose file has an empty name',
      formOf([{ ...FILE, head: FILE.head.replace('a.jsonl', '') }, PURPOSE]),
      { status: 400, code: 'invalid_value', param: 'filename' },
    ],
    ['that is not closed', formOf([FILE, PURPOSE], { closing: '' }), { status: 400, code: 'invalid_form' }],
    ['that has a preamble', formOf([FILE, PURPOSE], { opening: 'hello\r\n' }), { status: 400, code: 'invalid_form' }],
    [
      'whose headers do not end',
      formOf([{ ...FILE, head: `x: ${'y'.repeat(9000)}` }]),
      { status: 400, code: 'invalid_form' },
    ],
    [
      'with a part without headers',
      formOf([{ head: '', body: '' }, FILE, PURPOSE]),
      { status: 400, code: 'invalid_form' },
    ],
    [
      'with a part that is nothing',
      Buffer.from(`--${BOUNDARY}\r\n--${BOUNDARY}--`),
      { status: 400, code: 'invalid_form' },
    ],
    [
      'that is encoded once more',
      formOf([{ ...FILE, head: `${FILE.head}\r\ncontent-transfer-encoding: base64` }, PURPOSE]),
      { status: 400, code: 'invalid_form' },
    ],
    [
      'of many parts',
      formOf(Array.from({ length: 30 }, (_, i) => field(`f${i}`, ''))),
      { status: 400, code: 'invalid_form' },
    ],
    ['that is empty', Buffer.alloc(0), { status: 400, code: 'invalid_form' }],
    ['whose bytes are no form', Buffer.from('nonsense'), { status: 400, code: 'invalid_form' }],
    [
      'that is JSON',
      Buffer.from('{}'),
      { status: 415, code: 'unsupported_media_type' },
      { 'content-type': 'application/json' },
    ],
    [
      'without a boundary',
      formOf([FILE, PURPOSE]),
      { status: 400, code: 'invalid_form' },
      { 'content-type': 'multipart/form-data; boundary=' },
    ],
    [
      'of a key that is not known',
      formOf([FILE, PURPOSE]),
      { status: 401, code: 'invalid_api_key' },
      { authorization: 'Bearer nobody' },
    ],
  ])('%s is refused by name', async (_, body, refusal, headers) => {
    expect(await errorOf(await send(body, headers))).toMatchObject(refusal)
  })

  test('is read the same however its bytes come, whatever they are', async () => {
    for (let round = 0; round < draws('FORMS', { few: 12, all: 500 }); round += 1) {
      const parts = [
        '\r\n',
        `\r\n--${BOUNDARY.slice(0, -1)}`,
        `--${BOUNDARY}`,
        '\r\n--',
        '\r',
        '--\r\n',
        'line\n',
        '\0',
      ]
      const content = Buffer.concat(
        Array.from({ length: random.below(12) }, () =>
          random.chance(0.2) ? noise(random.below(9000), random.below(1e9)) : Buffer.from(random.pick(parts)),
        ),
      )
      if (`\r\n${content.toString('latin1')}`.includes(`\r\n--${BOUNDARY}`)) continue // nobody would send it with this boundary
      const name = random.pick(['a.jsonl', 'ü 文.jsonl', 'a;b=c.jsonl', "it's.jsonl"])
      const file = {
        head: `Content-Disposition: form-data; name="file"; filename="${name}"\r\ncontent-type: x/y`,
        body: content,
      }
      const pieces = random.chance(0.5) ? [file, PURPOSE] : [PURPOSE, file]
      const form = formOf(pieces, {
        closing: random.pick([`--${BOUNDARY}--\r\n`, `--${BOUNDARY}--`, `--${BOUNDARY}--\r\nafter`]),
      })
      const answer = await send(inPieces(form))
      const made = (await answer.json()) as { id: string; filename: string }
      expect({ status: answer.status, filename: made.filename }).toEqual({ status: 200, filename: name })
      expect(await bytesOf(made.id)).toEqual(content)
      await client.files.delete(made.id)
    }
  })

  test('whose bytes are changed anywhere is taken or refused, and is no fault of ours', async () => {
    const form = formOf([FILE, PURPOSE])
    for (let round = 0; round < draws('WRONG_FORMS', { few: 20, all: 2000 }); round += 1) {
      const wrong = Buffer.from(form)
      for (let i = 0; i <= random.below(3); i += 1) wrong[random.below(wrong.length)] = random.below(256)
      const cut = random.chance(0.3) ? wrong.subarray(0, random.below(wrong.length)) : wrong
      const answer = await send(inPieces(cut))
      if (answer.status === 200) await answer.arrayBuffer()
      else expect((await errorOf(answer)).status).toBe(400)
    }
    await gateway.db.sql`update files set expires_at = clock_timestamp()`
  })

  function inPieces(bytes: Buffer): ReadableStream<Uint8Array> {
    let at = 0
    return new ReadableStream({
      pull(controller) {
        const piece = bytes.subarray(at, at + 1 + random.below(random.pick([3, 50, 10_000])))
        at += piece.length
        if (piece.length > 0) controller.enqueue(piece)
        else controller.close()
      },
    })
  }
})

describe('too much', () => {
  test('of one file is refused before and after its length is known, and the client reads why', async () => {
    const announced = await send(Buffer.alloc(FILE_BYTES_MAX + 200_000))
    expect(await errorOf(announced)).toMatchObject({ status: 413, code: 'body_too_large' })
    let sent = 0
    const head = Buffer.from(`--${BOUNDARY}\r\n${FILE.head}\r\n\r\n`)
    const endless = new ReadableStream({
      pull(controller) {
        controller.enqueue(sent === 0 ? head : Buffer.alloc(1 << 20))
        sent += 1
        if (sent > MEGABYTES + 3) controller.close()
      },
    })
    expect(await errorOf(await send(endless))).toMatchObject({ status: 413, code: 'body_too_large' })
    await gateway.runScheduled()
    expect(objects()).toEqual([])
  })

  test('of one account is refused, and so are too many at a time', async () => {
    const { account_id } = caller
    const insert = (count: number, bytes: number, state: string) => gateway.db.sql`
      insert into files (account_id, created_by, state, bytes, bytes_max, expires_at)
      select ${account_id}, gen_random_uuid(), ${state}, ${bytes}, ${bytes}, clock_timestamp() + interval '1 hour'
      from generate_series(1, ${count})`
    const clear = () => gateway.db.sql`delete from files where account_id = ${account_id}`
    const body = formOf([FILE, PURPOSE])
    await insert(1, 499_999_900, 'ready')
    expect(await errorOf(await send(body))).toMatchObject({ status: 400, code: 'no_room_for_file' })
    await clear()
    await insert(8, 1, 'writing')
    expect(await errorOf(await send(body))).toMatchObject({ status: 429, code: 'concurrency_limit_exceeded' })
    await clear()
    await insert(10_000, 1, 'ready')
    expect(await errorOf(await send(body))).toMatchObject({ status: 400, code: 'too_many_files' })
    await clear()
    expect((await send(body)).status).toBe(200)
  })
})

test('an upload that is cut leaves nothing', async () => {
  const { hostname, port } = new URL(gateway.url)
  const socket = connect(Number(port), hostname)
  const head = `POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${caller.api_key}\r\n`
  const type = `content-type: multipart/form-data; boundary=${BOUNDARY}\r\ncontent-length: ${FILE_BYTES_MAX}\r\n\r\n`
  socket.on('error', () => {})
  socket.write(`${head}${type}--${BOUNDARY}\r\n${FILE.head}\r\n\r\n`)
  socket.write(Buffer.alloc(PART_BYTES * 3))
  await eventually(async () => (objects().length >= 3 ? true : null))
  socket.resetAndDestroy()
  await eventually(async () => {
    const writing = await gateway.db.sql`select from files where state = 'writing'`
    return writing.length === 0 ? true : null
  })
  await gateway.db.sql`update files set expires_at = clock_timestamp()`
  await gateway.runScheduled()
  expect(objects()).toEqual([])
})

test('a file of 200 MB goes up and down in the memory of a few parts', async () => {
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.pid}/status`, 'utf8'))![1]) / 1024
  const piece = Buffer.alloc(1 << 20, 'x')
  const pieces = [
    `--${BOUNDARY}\r\n${FILE.head}\r\n\r\n`,
    ...Array<Buffer>(MEGABYTES).fill(piece),
    `\r\n`,
    formOf([PURPOSE]),
  ]
  await upload(Buffer.alloc(4 << 20))
  const before = rss()
  let most = before
  async function* measured() {
    for (const bytes of pieces) {
      most = Math.max(most, rss())
      yield Buffer.from(bytes as string)
    }
  }
  const made = (await (await send(ReadableStream.from<Uint8Array>(measured()))).json()) as { id: string; bytes: number }
  expect(made.bytes).toBe(MEGABYTES << 20)
  let read = 0
  for await (const bytes of (await client.files.content(made.id)).body!) {
    read += bytes.length
    most = Math.max(most, rss())
  }
  expect(read).toBe(made.bytes)
  console.log(`the gateway took ${(most - before).toFixed(1)} MB more for ${MEGABYTES} MB`)
  expect(most - before).toBeLessThan(100)
})
