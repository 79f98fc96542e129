// The one who reads an answer: a socket that may be slow or gone. It keeps quiet answers alive, with comments in a stream and with
// empty lines before a whole answer's JSON, because nobody on the way notices a departed client until something is written. It
// reports a slow reader, knows what was taken of what was written, and tells once when the client has left.

import type { ServerResponse } from 'node:http'
import { ACCEPTED_HEADER } from '../../contract/internal/generation.ts'
import { KEEP_ALIVE } from '../answer/answer.ts'

export interface ClientOptions {
  content_type: string
  streams: boolean
  keep_alive_ms: number
  buffer_bytes_max: number // written and not yet taken by the socket; above it the reader is slow
  slow_ms_max: number // how long it may stay slow
  on_gone: () => void
  on_slow: (is_slow: boolean) => void
}

type Socket = Pick<
  ServerResponse,
  'writeHead' | 'flushHeaders' | 'write' | 'end' | 'destroy' | 'on' | 'headersSent' | 'writableLength' | 'destroyed'
>

/** A write, by where it ends, and how many tokens' text was out with it. */
interface Delivery {
  end_byte: number
  tokens: number
}

// No JSON parser minds it, and a line is what some proxies pass on at once.
const EMPTY_LINE = '\n'

// Two beats are less than two of the setting, which is what a departure may take to be noticed.
const WHOLE_BEAT = 0.95

export class Client {
  readonly #socket: Socket
  readonly #options: ClientOptions
  readonly #untaken: Delivery[] = [] // in order; the last write is not among them
  readonly #last: Delivery = { end_byte: 0, tokens: 0 }
  #delivered_tokens = 0
  #written_bytes = 0
  #beats = 0
  #has_begun = false // of a whole answer: there is a token, so that it can no longer be refused
  #keep_alive: NodeJS.Timeout | undefined
  #slow: NodeJS.Timeout | undefined
  #is_over = false

  constructor(socket: Socket, options: ClientOptions) {
    this.#socket = socket
    this.#options = options
    socket.on('close', () => this.#leave())
    socket.on('error', () => {}) // a close follows, and that is what counts
    socket.on('drain', () => this.#catchUp())
    if (socket.destroyed)
      queueMicrotask(() => this.#leave()) // it left before anyone listened
    else {
      const beat = options.streams ? 1 : WHOLE_BEAT
      if (options.streams) this.#open()
      this.#keep_alive = setInterval(() => this.#keepAlive(), beat * options.keep_alive_ms)
    }
  }

  /** Tokens whose text the socket has taken. What lies in this process is not delivered, nor is what was written to who is gone. */
  get delivered_tokens(): number {
    if (!this.#socket.destroyed && !this.#is_over) this.#noteTaken(this.#written_bytes - this.#socket.writableLength)
    return this.#delivered_tokens
  }

  /** Everything one step made for this answer, which then has the text of so many tokens. A whole answer only learns that it runs. */
  write(bytes: string, tokens: number): void {
    this.#has_begun = true
    if (bytes === '' || this.#is_over) return
    this.#send(bytes)
    if (this.#last.tokens > this.#delivered_tokens) this.#untaken.push({ ...this.#last })
    this.#last.end_byte = this.#written_bytes
    this.#last.tokens = tokens
    this.#keep_alive?.refresh()
  }

  /** The last bytes. `status` counts only where nothing was sent yet. */
  end(bytes: string, status: number): void {
    if (this.#is_over) return
    this.#close()
    if (!this.#socket.headersSent) this.#socket.writeHead(status, this.#headers(Buffer.byteLength(bytes)))
    this.#socket.end(bytes)
    this.#slow = setTimeout(() => this.#cutOff(), this.#options.slow_ms_max) // it may never read the end
  }

  #open(): void {
    this.#socket.writeHead(200, { ...this.#headers(), 'cache-control': 'no-cache' })
    this.#socket.flushHeaders()
  }

  #keepAlive(): void {
    if (this.#options.streams) this.#send(KEEP_ALIVE)
    else if (++this.#beats > 1 && this.#has_begun) this.#send(EMPTY_LINE) // one that fails within two beats has its status
  }

  #send(bytes: string): void {
    if (!this.#socket.headersSent) this.#open()
    this.#written_bytes += Buffer.byteLength(bytes)
    const has_room = this.#socket.write(bytes) // only where it has none does a drain follow
    if (!has_room && this.#socket.writableLength > this.#options.buffer_bytes_max) this.#fallBehind()
  }

  #noteTaken(taken_bytes: number): void {
    if (taken_bytes >= this.#last.end_byte) {
      this.#delivered_tokens = this.#last.tokens
      this.#untaken.length = 0
      return
    }
    const taken = this.#untaken.findLastIndex(({ end_byte }) => end_byte <= taken_bytes)
    if (taken < 0) return
    this.#delivered_tokens = this.#untaken[taken]!.tokens
    this.#untaken.splice(0, taken + 1)
  }

  #headers(length?: number): Record<string, string | number> {
    const headers = { 'content-type': this.#options.content_type, [ACCEPTED_HEADER]: '1' }
    return length === undefined ? headers : { ...headers, 'content-length': length }
  }

  #fallBehind(): void {
    if (this.#slow) return
    this.#slow = setTimeout(() => this.#cutOff(), this.#options.slow_ms_max)
    this.#options.on_slow(true)
  }

  #catchUp(): void {
    if (!this.#slow) return
    clearTimeout(this.#slow)
    this.#slow = undefined
    this.#options.on_slow(false)
  }

  // Closing takes a moment, and a write in it would be an error: so it counts as gone at once.
  #cutOff(): void {
    this.#socket.destroy()
    this.#leave()
  }

  #leave(): void {
    clearTimeout(this.#slow)
    if (this.#is_over) return
    this.#close()
    this.#options.on_gone()
  }

  #close(): void {
    this.#is_over = true
    clearInterval(this.#keep_alive)
    clearTimeout(this.#slow)
  }
}
