// How a line of the journal lies in its file: a checksum, a number, a length, and JSON. A frame tells by itself where it ends and
// whether it is whole, so a damaged byte costs the frame it lies in and no other. Files are read piece by piece, however large.

import { readSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/** A frame that is whole, or what lies between two of them. `number` is null in a line of a release before frames. */
export type Found =
  | { kind: 'frame'; number: number | null; json: string }
  | { kind: 'damage'; bytes: number }
  | { kind: 'torn'; bytes: number } // the end of a write that was killed: nothing of it reached a socket

const PIECE_BYTES = 1 << 20
const HEAD_BYTES_MAX = 40
const FRAME_BYTES_MAX = 16 << 20
// A release before frames wrote all that was unacknowledged as one line.
const BARE_LINE_BYTES_MAX = 256 << 20

const HEAD = /^([0-9a-f]{8}) ((\d{1,15}) (\d{1,8}) )/
const HEAD_ANYWHERE = /[0-9a-f]{8} \d{1,15} \d{1,8} \{/g
const TORN_HEAD = /^[0-9a-f]{0,8}( (\d{0,15}( (\d{0,8} ?)?)?)?)?$/

const [NEWLINE, BRACE] = ['\n'.charCodeAt(0), '{'.charCodeAt(0)]

export function frameOf(number: number, json: string): string {
  const body = `${number} ${Buffer.byteLength(json)} ${json}`
  return `${crc32(body).toString(16).padStart(8, '0')} ${body}\n`
}

export function* readFrames(file: number): Generator<Found> {
  const window = new Window(file)
  let damaged_bytes = 0
  while (!window.is_at_end) {
    const frame = window.frame() ?? window.bareLine()
    if (frame) {
      if (damaged_bytes > 0) yield { kind: 'damage', bytes: damaged_bytes }
      damaged_bytes = 0
      yield frame
    } else {
      const skipped = window.skip()
      damaged_bytes += skipped.bytes
      if (!skipped.is_torn) continue
      yield { kind: 'torn', bytes: damaged_bytes }
      return
    }
  }
  if (damaged_bytes > 0) yield { kind: 'damage', bytes: damaged_bytes }
}

type Frame = Extract<Found, { kind: 'frame' }>

/** The part of a file that is looked at now. It grows only to hold one frame. */
class Window {
  readonly #file: number
  #bytes: Buffer = Buffer.alloc(0)
  #begin = 0
  #offset = 0 // of the next piece in the file
  #is_read = false

  constructor(file: number) {
    this.#file = file
  }

  get is_at_end(): boolean {
    return !this.#has(1)
  }

  /** The frame that begins here, or null. */
  frame(): Frame | null {
    this.#has(HEAD_BYTES_MAX)
    const found = this.#frameAt(0)
    this.#begin += found?.end ?? 0
    return found?.frame ?? null
  }

  /** The line without a checksum that begins here, as releases before frames wrote it. */
  bareLine(): Frame | null {
    if (this.#bytes[this.#begin] !== BRACE) return null
    while (this.#lineEnd() < 0 && this.#length < BARE_LINE_BYTES_MAX && this.#has(this.#length + 1));
    const end = this.#lineEnd()
    if (end < 0) return null
    const json = this.#bytes.toString('utf8', this.#begin, end)
    if (!isJson(json)) return null
    this.#begin = end + 1
    return { kind: 'frame', number: null, json }
  }

  /** Goes on to where the next frame may begin. Torn is what begins like a frame, and ends with its file before its line does. */
  skip(): { bytes: number; is_torn: boolean } {
    let is_torn = this.#isTornHere()
    let bytes = 0
    for (;;) {
      this.#has(PIECE_BYTES)
      is_torn &&= this.#lineEnd() < 0
      const next = this.#nextFrame()
      if (next !== null) {
        this.#begin += next
        return { bytes: bytes + next, is_torn: false }
      }
      // The head of a frame may lie on the edge of what was read.
      const kept = this.#is_read ? 0 : HEAD_BYTES_MAX
      bytes += this.#length - kept
      this.#begin = this.#bytes.length - kept
      if (this.#is_read) return { bytes, is_torn }
    }
  }

  #isTornHere(): boolean {
    const head = this.#text(HEAD_BYTES_MAX)
    const parsed = HEAD.exec(head)
    if (!parsed) return (head.length < HEAD_BYTES_MAX && TORN_HEAD.test(head)) || head.startsWith('{')
    return !this.#has(parsed[0].length + Number(parsed[4]))
  }

  /** How far from here the next frame or bare line begins, within what was read. */
  #nextFrame(): number | null {
    const text = this.#text(this.#length)
    for (const { index } of text.matchAll(HEAD_ANYWHERE)) if (index > 0 && this.#frameAt(index)) return index
    const bare = text.indexOf('\n{"')
    return bare < 0 ? null : bare + 1
  }

  /** The frame that begins so far from here, and how far from here it ends; null where none does that is whole. */
  #frameAt(ahead: number): { frame: Frame; end: number } | null {
    const head = HEAD.exec(this.#text(HEAD_BYTES_MAX, ahead))
    if (!head) return null
    const [whole, checksum, counted, number] = head as unknown as [string, string, string, string]
    const from = ahead + whole.length
    const end = from + Number(head[4])
    if (end - from > FRAME_BYTES_MAX || !this.#has(end)) return null
    if (crc32(this.#slice(from - counted.length, end)) !== Number.parseInt(checksum, 16)) return null
    const json = this.#slice(from, end).toString('utf8')
    const ends_line = this.#has(end + 1) && this.#bytes[this.#begin + end] === NEWLINE
    return { frame: { kind: 'frame', number: Number(number), json }, end: ends_line ? end + 1 : end }
  }

  #lineEnd(): number {
    return this.#bytes.indexOf(NEWLINE, this.#begin)
  }

  #slice(from: number, to: number): Buffer {
    return this.#bytes.subarray(this.#begin + from, this.#begin + to)
  }

  get #length(): number {
    return this.#bytes.length - this.#begin
  }

  #text(length: number, ahead = 0): string {
    return this.#slice(ahead, ahead + length).toString('latin1')
  }

  /** Reads on until so many bytes lie ahead; false where the file has fewer. */
  #has(bytes: number): boolean {
    while (this.#length < bytes && !this.#is_read) this.#read(Math.max(PIECE_BYTES, bytes - this.#length))
    return this.#length >= bytes
  }

  #read(bytes: number): void {
    const grown = Buffer.allocUnsafe(this.#length + bytes)
    this.#bytes.copy(grown, 0, this.#begin)
    const got = readSync(this.#file, grown, this.#length, bytes, this.#offset)
    this.#bytes = grown.subarray(0, this.#length + got)
    this.#begin = 0
    this.#offset += got
    this.#is_read = got === 0
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
