// Reads a SentencePiece `tokenizer.model`: a protocol buffer (sentencepiece_model.proto) of which we need few fields, so
// a small reader stands here instead of a library and a generated schema. What we could not reproduce is refused by name.

import { ModelError } from '../model-error.ts'
import type { WordRule } from './byte-level.ts'
import type { MergeTable } from './merge.ts'

/** `added` ones are cut out of a text before it is normalized, `user_defined` ones after; `unused` is an id that no piece has. */
export type PieceType = 'normal' | 'unknown' | 'control' | 'user_defined' | 'added' | 'byte' | 'unused'

export interface Piece {
  text: string
  score: number
  type: PieceType
  found_as?: string // how a user-defined piece stands in normalized text, where that is not its own text
  is_merged?: boolean // an added one is made of others, too: the model has it as a piece, which spells spaces otherwise than a text does
  takes_left?: boolean // a special one takes the spaces before it along, where a template writes it
  takes_right?: boolean
}

/** Whether what merges in a text may become it. What a caller writes never becomes a special piece or a byte. */
export function isMerged({ type, is_merged = false }: Piece): boolean {
  return type === 'normal' || is_merged
}

export interface TokenizerModel {
  pieces: Piece[]
  unknown_surface: string // what an unknown id decodes to
  /** What no piece spells: its bytes; else an unknown piece for each run or each character; or nothing at all. */
  unspelled: 'bytes' | 'unknown_run' | 'unknown_characters' | 'dropped'
  add_dummy_prefix: boolean
  /** Which texts get it: each, or only one that begins the whole. */
  prefixes: 'each_text' | 'first_text'
  /** Spaces are spelled behind all added tokens, and a text that begins with one gets no other. */
  is_metaspace: boolean
  remove_extra_whitespaces: boolean
  /** Where pieces spell bytes instead of text: how a text falls into the words whose bytes merge. */
  word_rule: WordRule | null
  /** A word that is a piece is that piece, whatever merges would make of it. */
  takes_whole_words: boolean
  merges: MergeTable | null // null: any neighbours whose text is a piece merge, by its score
}

export const PIECES_MAX = 1 << 20

/** The model in the bytes of a `tokenizer.model`; throws `ModelError` where it is broken or of another kind. */
export function parseTokenizerModel(bytes: Uint8Array): TokenizerModel {
  const fields = readMessage(bytes)
  // Every trainer writes both; without them the defaults would quietly give other ids.
  if (last(fields, 2) === undefined || last(fields, 3) === undefined) throw broken()
  const trainer = readMessage(bytesOf(fields, 2))
  const normalizer = readMessage(bytesOf(fields, 3))
  const denormalizer = readMessage(bytesOf(fields, 5))
  refuseWhat(numberOf(trainer, 3, 1) !== 2, 'only BPE models are supported')
  refuseWhat(numberOf(trainer, 24, 0) !== 0, 'treat_whitespace_as_suffix is not supported')
  refuseWhat(numberOf(normalizer, 5, 1) === 0, 'a model that does not escape whitespace is not supported')
  const rule = textOf(normalizer, 1) ?? 'identity'
  refuseWhat(bytesOf(normalizer, 2).length > 0, `the normalizer "${rule}" is not supported, only "identity"`)
  refuseWhat(bytesOf(denormalizer, 2).length > 0, 'a denormalizer is not supported')
  const pieces = fields.filter((field) => field.number === 1).map((field) => pieceOf(field.value))
  const has_bytes = numberOf(trainer, 35, 0) !== 0
  refuseBadPieces(pieces, has_bytes)
  return {
    pieces,
    unknown_surface: textOf(trainer, 44) ?? ' \u2047 ',
    unspelled: has_bytes ? 'bytes' : 'unknown_run',
    add_dummy_prefix: numberOf(normalizer, 3, 1) !== 0,
    prefixes: 'each_text',
    is_metaspace: false,
    remove_extra_whitespaces: numberOf(normalizer, 4, 1) !== 0,
    word_rule: null,
    takes_whole_words: false,
    merges: null,
  }
}

function pieceOf(value: number | Uint8Array): Piece {
  const fields = readMessage(expectBytes(value))
  const text = textOf(fields, 1)
  if (text === null || text === '')
    throw new ModelError('tokenizer_invalid', 'tokenizer.model has a piece without text')
  return { text, score: floatOf(fields, 2), type: pieceType(numberOf(fields, 3, 1)) }
}

function pieceType(value: number): PieceType {
  const types: Record<number, PieceType> = { 1: 'normal', 2: 'unknown', 3: 'control', 4: 'user_defined', 6: 'byte' }
  const type = types[value]
  if (type === undefined)
    throw new ModelError('tokenizer_unsupported', `tokenizer.model: piece type ${value} is not supported`)
  return type
}

function refuseBadPieces(pieces: Piece[], has_bytes: boolean): void {
  const types = new Map(pieces.map((piece) => [piece.text, piece.type]))
  const refuse = (what: string) => new ModelError('tokenizer_invalid', `tokenizer.model ${what}`)
  if (types.size !== pieces.length) throw refuse('lists a piece twice')
  if (pieces.some(({ score }) => !Number.isFinite(score))) throw refuse('has a score that is not finite')
  if (pieces.filter(({ type }) => type === 'unknown').length !== 1) throw refuse('has not one unknown piece')
  const bytes = has_bytes ? 256 : 0
  for (let byte = 0; byte < bytes; byte++) {
    if (types.get(bytePiece(byte)) !== 'byte') throw refuse(`lacks ${bytePiece(byte)}`)
  }
  if (pieces.filter(({ type }) => type === 'byte').length !== bytes) throw refuse('has a byte that is none')
}

/** How SentencePiece names the piece of one byte. */
export function bytePiece(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}

function refuseWhat(refused: boolean, reason: string): void {
  if (refused) throw new ModelError('tokenizer_unsupported', `tokenizer.model: ${reason}`)
}

// ── protocol buffers: varints, 4-byte floats and length-delimited bytes are all this schema has

interface Field {
  number: number
  value: number | Uint8Array // a float stays its 4 bytes
}

function readMessage(bytes: Uint8Array): Field[] {
  const fields: Field[] = []
  const cursor = { bytes, at: 0 }
  while (cursor.at < bytes.length) {
    if (fields.length === PIECES_MAX)
      throw new ModelError('tokenizer_invalid', `tokenizer.model has more than ${PIECES_MAX} pieces`)
    const key = readVarint(cursor)
    fields.push({ number: Math.floor(key / 8), value: readValue(cursor, key % 8) })
  }
  return fields
}

function readValue(cursor: { bytes: Uint8Array; at: number }, wire_type: number): number | Uint8Array {
  if (wire_type === 0) return readVarint(cursor)
  if (wire_type === 1) return readBytes(cursor, 8)
  if (wire_type === 2) return readBytes(cursor, readVarint(cursor))
  if (wire_type === 5) return readBytes(cursor, 4)
  throw broken()
}

function readVarint(cursor: { bytes: Uint8Array; at: number }): number {
  let value = 0
  for (let shift = 1; shift <= 2 ** 63; shift *= 128) {
    const byte = cursor.bytes[cursor.at++]
    if (byte === undefined) throw broken()
    value += (byte & 0x7f) * shift
    if (byte < 0x80) return value
  }
  throw broken()
}

function readBytes(cursor: { bytes: Uint8Array; at: number }, length: number): Uint8Array {
  const end = cursor.at + length
  if (end > cursor.bytes.length) throw broken()
  const value = cursor.bytes.subarray(cursor.at, end)
  cursor.at = end
  return value
}

// A repeated scalar field takes its last value, as protocol buffers say.
function last(fields: Field[], number: number): number | Uint8Array | undefined {
  return fields.findLast((field) => field.number === number)?.value
}

function numberOf(fields: Field[], number: number, fallback: number): number {
  const value = last(fields, number) ?? fallback
  if (typeof value !== 'number') throw broken()
  return value
}

function bytesOf(fields: Field[], number: number): Uint8Array {
  return expectBytes(last(fields, number) ?? new Uint8Array())
}

function textOf(fields: Field[], number: number): string | null {
  const value = last(fields, number)
  if (value === undefined) return null
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(expectBytes(value))
  } catch {
    throw broken()
  }
}

function floatOf(fields: Field[], number: number): number {
  const bytes = expectBytes(last(fields, number) ?? new Uint8Array(4))
  if (bytes.length !== 4) throw broken()
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true)
}

function expectBytes(value: number | Uint8Array): Uint8Array {
  if (typeof value === 'number') throw broken()
  return value
}

function broken(): ModelError {
  return new ModelError('tokenizer_invalid', 'tokenizer.model is not a SentencePiece model')
}
