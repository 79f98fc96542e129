// Writes small tokenizer.model files, good and bad, for tests.

import { bytePiece } from '../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'

export interface TokenizerModelOptions {
  pieces?: { text: string; score?: number; type?: number }[] // after <unk>, <s>, </s> and the 256 bytes
  bytes?: number // of the 256 byte pieces
  model_type?: number
  byte_fallback?: boolean
  escape_whitespaces?: boolean
  treat_whitespace_as_suffix?: boolean
  add_dummy_prefix?: boolean
  remove_extra_whitespaces?: boolean
  charsmap?: Uint8Array
}

export function tokenizerModel(options: TokenizerModelOptions): Buffer {
  const pieces = [
    { text: '<unk>', score: 0, type: 2 },
    { text: '<s>', score: 0, type: 3 },
    { text: '</s>', score: 0, type: 3 },
    ...Array.from({ length: options.bytes ?? 256 }, (_, byte) => ({ text: bytePiece(byte), score: 0, type: 6 })),
    ...(options.pieces ?? []),
  ]
  const trainer = [
    varintField(3, options.model_type ?? 2),
    varintField(24, Number(options.treat_whitespace_as_suffix ?? false)),
    varintField(35, Number(options.byte_fallback ?? true)),
  ]
  const normalizer = [
    bytesField(1, Buffer.from(options.charsmap ? 'nmt_nfkc' : 'identity')),
    bytesField(2, Buffer.from(options.charsmap ?? [])),
    varintField(3, Number(options.add_dummy_prefix ?? false)),
    varintField(4, Number(options.remove_extra_whitespaces ?? false)),
    varintField(5, Number(options.escape_whitespaces ?? true)),
  ]
  return Buffer.concat([
    ...pieces.map(({ text, score = 0, type = 1 }) => bytesField(1, piece(text, score, type))),
    bytesField(2, Buffer.concat(trainer)),
    bytesField(3, Buffer.concat(normalizer)),
  ])
}

function piece(text: string, score: number, type: number): Buffer {
  const score_bytes = Buffer.alloc(5)
  score_bytes[0] = (2 << 3) | 5
  score_bytes.writeFloatLE(score, 1)
  return Buffer.concat([bytesField(1, Buffer.from(text)), score_bytes, varintField(3, type)])
}

export function bytesField(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}

export function varintField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)])
}

export function varint(value: number): Buffer {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128)
  return Buffer.from([...bytes, value])
}

const BYTE_TYPE = 6

/** The same model without its pieces of bytes, and without byte fallback. Fields that say nothing of either are kept as they are. */
export function withoutBytes(model: Buffer): Buffer {
  const kept = fieldsOf(model).filter(({ number, bytes }) => number !== 1 || !isByte(bytes))
  return Buffer.concat(
    kept.map(({ number, bytes }) =>
      bytesField(number, number === 2 ? Buffer.concat([bytes, varintField(35, 0)]) : bytes),
    ),
  )
}

function isByte(piece: Buffer): boolean {
  return piece.includes(varintField(3, BYTE_TYPE)) && /^<0x[0-9A-F]{2}>$/.test(fieldsOf(piece)[0]!.bytes.toString())
}

/** Up to the first that is not of bytes: those of a model all are. */
function fieldsOf(message: Buffer): { number: number; bytes: Buffer }[] {
  const fields: { number: number; bytes: Buffer }[] = []
  for (let at = 0; at < message.length; ) {
    const key = readVarint(message, at)
    if (key.value % 8 !== 2) break
    const length = readVarint(message, key.end)
    fields.push({ number: Math.floor(key.value / 8), bytes: message.subarray(length.end, length.end + length.value) })
    at = length.end + length.value
  }
  return fields
}

function readVarint(bytes: Buffer, start: number): { value: number; end: number } {
  let value = 0
  let at = start
  for (let shift = 1; ; shift *= 128) {
    const byte = bytes[at++]!
    value += (byte % 128) * shift
    if (byte < 128) return { value, end: at }
  }
}
