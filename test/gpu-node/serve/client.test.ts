import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Client, type ClientOptions } from '../../../gpu-node/serve/client.ts'

class FakeSocket extends EventEmitter {
  written: string[] = []
  head: { status: number; headers: Record<string, unknown> } | null = null
  writableLength = 0
  writableHighWaterMark = 1
  destroyed = false
  ended = false
  get headersSent() {
    return this.head !== null
  }
  writeHead(status: number, headers: Record<string, unknown>) {
    this.head = { status, headers }
    return this as never
  }
  flushHeaders() {}
  write(bytes: string) {
    this.written.push(bytes)
    return this.writableLength < this.writableHighWaterMark
  }
  end(bytes: string) {
    if (bytes) this.written.push(bytes)
    this.ended = true
    return this as never
  }
  destroy() {
    this.destroyed = true // and closes later
    return this as never
  }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function setUp(changes: Partial<ClientOptions> = {}, socket = new FakeSocket()) {
  const events: string[] = []
  const client = new Client(socket as never, {
    content_type: 'text/event-stream',
    streams: true,
    keep_alive_ms: 1000,
    buffer_bytes_max: 100,
    slow_ms_max: 30_000,
    on_gone: () => events.push('gone'),
    on_slow: (is_slow) => events.push(is_slow ? 'slow' : 'fast'),
    ...changes,
  })
  return { client, socket, events }
}

test('a stream has its headers at once, a whole answer with its bytes', () => {
  expect(setUp().socket.head).toMatchObject({ status: 200, headers: { 'x-accepted': '1' } })
  const { client, socket } = setUp({ streams: false })
  expect(socket.head).toBeNull()
  client.end('写', 503)
  expect(socket.head).toMatchObject({ status: 503, headers: { 'x-accepted': '1', 'content-length': 3 } })
})

test('a comment is written after each quiet second, and none after the end', () => {
  const { client, socket } = setUp()
  vi.advanceTimersByTime(900)
  client.write('data', 1)
  vi.advanceTimersByTime(900)
  expect(socket.written).toEqual(['data'])
  vi.advanceTimersByTime(100)
  expect(socket.written).toEqual(['data', ': keep-alive\n\n'])
  client.end('end', 200)
  vi.advanceTimersByTime(5000)
  expect(socket.written).toEqual(['data', ': keep-alive\n\n', 'end'])
})

test('nothing is written for a step that made no bytes', () => {
  const { client, socket } = setUp()
  client.write('', 1)
  expect(socket.written).toEqual([])
})

test('a whole answer that has no token yet gets nothing, and its status at its end', () => {
  const { client, socket } = setUp({ streams: false })
  vi.advanceTimersByTime(5000)
  expect(socket.written).toEqual([])
  client.end('{}', 503)
  expect(socket.head).toMatchObject({ status: 503, headers: { 'content-length': 2 } })
})

test('a whole answer that runs gets an empty line within two seconds, then each second, and its JSON behind them', () => {
  const { client, socket } = setUp({ streams: false, content_type: 'application/json' })
  client.write('', 1)
  vi.advanceTimersByTime(1800)
  expect(socket.head).toBeNull()
  vi.advanceTimersByTime(200)
  expect(socket.head).toMatchObject({ status: 200, headers: { 'x-accepted': '1', 'content-type': 'application/json' } })
  expect(socket.head!.headers).not.toHaveProperty('content-length')
  vi.advanceTimersByTime(1000)
  client.end('{"a":1}', 503)
  vi.advanceTimersByTime(5000)
  expect(socket.written).toEqual(['\n', '\n', '{"a":1}'])
  expect(JSON.parse(socket.written.join(''))).toEqual({ a: 1 })
})

test('what the socket has not taken is not delivered, and neither is a comment', () => {
  const { client, socket } = setUp()
  expect(client.delivered_tokens).toBe(0)
  client.write('12345', 1)
  client.write('67890', 3)
  vi.advanceTimersByTime(1000) // a comment of 14 bytes
  client.write('abcde', 4)
  for (const [unsent, delivered] of [
    [29, 0],
    [24, 1],
    [20, 1],
    [19, 3],
    [5, 3],
    [0, 4],
  ] as const) {
    socket.writableLength = unsent
    expect(client.delivered_tokens).toBe(delivered)
  }
})

test('of who has gone, what was taken when last looked at is delivered', () => {
  const { client, socket } = setUp()
  client.write('a', 1)
  expect(client.delivered_tokens).toBe(1)
  client.write('b', 2)
  socket.destroyed = true
  expect(client.delivered_tokens).toBe(1)
})

test('a reader is slow once, until its buffer has drained', () => {
  const { client, socket, events } = setUp()
  socket.writableLength = 101
  client.write('a', 1)
  client.write('b', 1)
  expect(events).toEqual(['slow'])
  socket.writableLength = 0
  socket.emit('drain')
  expect(events).toEqual(['slow', 'fast'])
  vi.advanceTimersByTime(60_000)
  expect(socket.destroyed).toBe(false)
})

test('no reader is slow whose socket still has room: no drain would tell that it caught up', () => {
  const { client, socket, events } = setUp()
  socket.writableHighWaterMark = 200
  socket.writableLength = 150
  client.write('a', 1)
  vi.advanceTimersByTime(60_000)
  expect(events).toEqual([])
  expect(socket.destroyed).toBe(false)
})

test('a reader that stays slow is cut off', () => {
  const { client, socket, events } = setUp()
  socket.writableLength = 101
  client.write('a', 1)
  vi.advanceTimersByTime(29_999)
  expect(socket.destroyed).toBe(false)
  vi.advanceTimersByTime(1)
  expect(socket.destroyed).toBe(true)
  expect(events).toEqual(['slow', 'gone'])
  const writes = socket.written.length
  client.write('b', 1)
  expect(socket.written).toHaveLength(writes)
})

test('a reader that never takes the end is cut off, and has not left', () => {
  const { client, socket, events } = setUp()
  client.end('end', 200)
  vi.advanceTimersByTime(30_000)
  expect(socket.destroyed).toBe(true)
  expect(events).toEqual([])
})

test('a client that leaves is told of once, and gets nothing more', () => {
  const { client, socket, events } = setUp()
  socket.emit('close')
  socket.emit('close')
  client.write('a', 1)
  client.end('b', 200)
  expect(events).toEqual(['gone'])
  expect([socket.written, socket.ended]).toEqual([[], false])
})

test('a close after the end is no leaving', () => {
  const { client, socket, events } = setUp()
  client.end('b', 200)
  socket.emit('close')
  expect(events).toEqual([])
})

test('a client that left before anyone listened is told of', async () => {
  const socket = new FakeSocket()
  socket.destroyed = true
  const { events } = setUp({}, socket)
  await Promise.resolve()
  expect(events).toEqual(['gone'])
  expect(socket.head).toBeNull()
})
