// A client that costs as little as can be, for benches where it shares the cores with what it measures: kept sockets, requests
// written as prepared bytes, answers looked at for their status and their end only.

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A POST as bytes, ready to be written again and again. */
export function postRequest(url: string, headers: Record<string, string>, body: string): Buffer {
  const { host, pathname } = new URL(url)
  const all = { host, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
}

export interface Load {
  url: string
  request: Buffer
  at_once: number
  seconds: number
  /** Between the first requests of two connections, so that not all go in step. */
  stagger_ms: number
}

/** Closed loop over kept connections: the ms from each request to the first byte of its body. */
export async function firstByteTimes({ url, request, at_once, seconds, stagger_ms }: Load): Promise<number[]> {
  const end = performance.now() + seconds * 1000
  const times: number[] = []
  const one = async (_: unknown, i: number) => {
    await sleep(i * stagger_ms)
    const socket = connect(Number(new URL(url).port), '127.0.0.1').setNoDelay()
    while (performance.now() < end) times.push(await ask(socket, request))
    socket.destroy()
  }
  await Promise.all(Array.from({ length: at_once }, one))
  return times
}

function ask(socket: Socket, request: Buffer): Promise<number> {
  const started = performance.now()
  const answer = new Answer()
  return new Promise((done, fail) => {
    let first_ms = 0
    const onData = (part: Buffer) => {
      answer.take(part)
      if (answer.status !== 0 && answer.status !== 200) fail(new Error(`answered ${answer.status}: ${part}`))
      if (answer.has_body) first_ms ||= performance.now() - started
      if (!answer.is_whole) return
      socket.off('data', onData).off('error', fail).off('close', fail)
      done(first_ms)
    }
    socket.on('data', onData).once('error', fail).once('close', fail)
    socket.write(request)
  })
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** What of an answer has come. One request is under way at a time, so what ends like a last chunk is one. */
class Answer {
  status = 0
  has_body = false
  is_whole = false
  #head = ''
  #left: number | null = null // of a body of known length

  take(part: Buffer): void {
    this.#takeBody(this.status === 0 ? this.#takeHead(part) : part)
  }

  /** What follows the head. */
  #takeHead(part: Buffer): Buffer {
    this.#head += part.toString('latin1')
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) return Buffer.alloc(0)
    this.status = Number(this.#head.slice(9, 12))
    const length = /\r\ncontent-length: *(\d+)/i.exec(this.#head.slice(0, end))
    this.#left = length && Number(length[1])
    return Buffer.from(this.#head.slice(end + 4), 'latin1')
  }

  #takeBody(part: Buffer): void {
    if (part.length === 0) return
    this.has_body = true
    if (this.#left !== null) this.#left -= part.length
    this.is_whole = this.#left === null ? part.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) : this.#left <= 0
  }
}
