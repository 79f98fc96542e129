// The one who reads an answer: a socket that may be slow or gone. It keeps quiet streams alive with comments (workerd
// notices a departed client only when something is written), reports a slow reader, and tells once when the client has left.

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
  'writeHead' | 'flushHeaders' | 'write' | 'end' | 'destroy' | 'on' | 'writableLength' | 'destroyed'
>

export class Client {
  readonly #socket: Socket
  readonly #options: ClientOptions
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
    else if (options.streams) this.#open()
  }

  /** Everything one step made for this stream. */
  write(bytes: string): void {
    if (bytes === '' || this.#is_over) return
    const has_room = this.#socket.write(bytes) // only where it has none does a drain follow
    this.#keep_alive?.refresh()
    if (!has_room && this.#socket.writableLength > this.#options.buffer_bytes_max) this.#fallBehind()
  }

  /** The last bytes. `status` counts only where nothing was sent yet. */
  end(bytes: string, status: number): void {
    if (this.#is_over) return
    this.#close()
    if (!this.#options.streams) this.#socket.writeHead(status, this.#headers(Buffer.byteLength(bytes)))
    this.#socket.end(bytes)
    this.#slow = setTimeout(() => this.#cutOff(), this.#options.slow_ms_max) // it may never read the end
  }

  #open(): void {
    this.#socket.writeHead(200, { ...this.#headers(), 'cache-control': 'no-cache' })
    this.#socket.flushHeaders()
    this.#keep_alive = setInterval(() => this.write(KEEP_ALIVE), this.#options.keep_alive_ms)
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
