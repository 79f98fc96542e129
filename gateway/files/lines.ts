// The lines of a file, read on from where one begins.

import { bytesOf, type Content, type GetPart } from './content.ts'

export interface Line {
  begins_at: number
  /** Where the next one begins. */
  ends_at: number
  /** Without its end; null of one that is too long. */
  bytes: Uint8Array | null
  is_blank: boolean
}

export async function* linesOf(
  get: GetPart,
  content: Content,
  { begin, line_bytes_max }: { begin: number; line_bytes_max: number },
): AsyncGenerator<Line> {
  let begins_at = begin
  let pieces: Uint8Array[] = []
  let length = 0
  for await (const bytes of bytesOf(get, content, { begin, end: Number.POSITIVE_INFINITY })) {
    for (let at = 0; at < bytes.length; ) {
      const newline = bytes.indexOf(10, at)
      const end = newline < 0 ? bytes.length : newline
      length += end - at
      if (length <= line_bytes_max) pieces.push(bytes.subarray(at, end))
      at = end + 1
      if (newline < 0) break
      yield lineOf(begins_at, length, length <= line_bytes_max ? pieces : null)
      begins_at += length + 1
      pieces = []
      length = 0
    }
  }
  if (length > 0) yield lineOf(begins_at, length, length <= line_bytes_max ? pieces : null)
}

function lineOf(begins_at: number, length: number, pieces: Uint8Array[] | null): Line {
  const bytes = pieces && (pieces.length === 1 ? pieces[0]! : joined(pieces, length))
  return { begins_at, ends_at: begins_at + length + 1, bytes, is_blank: bytes?.every(isBlank) ?? false }
}

const isBlank = (byte: number) => byte === 32 || byte === 13 || byte === 9

function joined(pieces: Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
