// Text to token ids exactly as Google's SentencePiece (BPE, identity normalizer, byte fallback) does it. Special pieces
// are never found in text: a caller that writes "<s>" gets the tokens of three characters.

import { ModelError } from '../load/model-error.ts'
import { type MergeTable, mergeSymbols } from './merge.ts'
import { bytePiece, type Piece, parseTokenizerModel, type TokenizerModel } from './model-file.ts'

const SPACE = '\u2581' // how pieces spell a space

export class Tokenizer {
  readonly model: TokenizerModel
  readonly #ids: ReadonlyMap<string, number>
  readonly #spellable: ReadonlyMap<string, number> // what text can become: normal and user-defined pieces
  readonly #merges: MergeTable
  readonly #byte_ids: number[]
  readonly #user_defined: UserDefinedPieces

  /** `added` are special tokens that the model file lacks; their ids continue its own. */
  constructor(model_file: Uint8Array, added: readonly [text: string, id: number][] = []) {
    this.model = withAdded(parseTokenizerModel(model_file), added)
    const pieces = [...this.model.pieces.entries()]
    const spellable = pieces.filter(([, piece]) => piece.type === 'normal' || piece.type === 'user_defined')
    this.#ids = new Map(pieces.map(([id, piece]) => [piece.text, id]))
    this.#spellable = new Map(spellable.map(([id, piece]) => [piece.text, id]))
    this.#merges = mergeTable(spellable.map(([, piece]) => piece))
    this.#byte_ids = Array.from({ length: 256 }, (_, byte) => this.#ids.get(bytePiece(byte))!)
    this.#user_defined = new UserDefinedPieces(this.model.pieces)
  }

  /** Pieces in the model. A network may have a few more rows, as padding. */
  get size(): number {
    return this.model.pieces.length
  }

  piece(id: number): Piece | undefined {
    return this.model.pieces[id]
  }

  /** The id of a control or user-defined piece, or null where the vocabulary has none of this text. */
  specialId(text: string): number | null {
    const id = this.#ids.get(text)
    if (id === undefined) return null
    const type = this.model.pieces[id]!.type
    return type === 'control' || type === 'user_defined' ? id : null
  }

  /** Fewer tokens than this no text of this length has: a bound that costs nothing, for texts far too long. */
  tokensMin(text: string): number {
    if (this.model.remove_extra_whitespaces) return 0 // it may be all spaces
    return Math.ceil(text.length / Math.max(1, this.#merges.piece_length_max))
  }

  /** Token ids of one text, without BOS. Lone surrogates count as U+FFFD. */
  encode(text: string): number[] {
    const normalized = this.#normalize(text.toWellFormed())
    const { starts, frozen } = this.#firstSymbols(normalized)
    const merged = mergeSymbols(normalized, starts, frozen, this.#merges)
    const ids: number[] = []
    for (const [i, start] of merged.entries()) this.#appendIds(ids, normalized.slice(start, merged[i + 1]))
    return ids
  }

  // Normalizer::Normalize with the identity rule. Extra whitespace is only ever U+0020 there.
  #normalize(text: string): string {
    const kept = this.model.remove_extra_whitespaces ? this.#removeExtraSpaces(text) : text
    if (kept === '') return ''
    return (this.model.add_dummy_prefix ? SPACE : '') + kept.replaceAll(' ', SPACE)
  }

  #removeExtraSpaces(text: string): string {
    return text.replace(/^ +/, '').replace(/ {2,}/g, ' ').replace(/ +$/, '')
  }

  #firstSymbols(text: string): { starts: number[]; frozen: Set<number> } {
    const starts: number[] = []
    const frozen = new Set<number>()
    for (let at = 0; at < text.length; ) {
      const length = this.#user_defined.matchAt(text, at)
      if (length > 0) frozen.add(starts.length)
      starts.push(at)
      at += length > 0 ? length : text.codePointAt(at)! > 0xffff ? 2 : 1
    }
    return { starts, frozen }
  }

  #appendIds(ids: number[], piece: string): void {
    const id = this.#spellable.get(piece)
    if (id !== undefined) ids.push(id)
    else for (const byte of Buffer.from(piece, 'utf8')) ids.push(this.#byte_ids[byte]!)
  }
}

function withAdded(model: TokenizerModel, added: readonly [text: string, id: number][]): TokenizerModel {
  const pieces = [...model.pieces]
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  for (const [text, id] of added) {
    if (ids.get(text) === id) continue // a list may repeat what the model file has
    if (ids.has(text) || id !== pieces.length)
      throw new ModelError('tokenizer_invalid', `added_tokens.json: ${JSON.stringify(text)} cannot have the id ${id}`)
    pieces.push({ text, score: 0, type: 'control' })
  }
  return { ...model, pieces }
}

function mergeTable(pieces: Piece[]): MergeTable {
  const scores = [...new Set(pieces.map((piece) => piece.score))].sort((a, b) => b - a)
  const rank_of = new Map(scores.map((score, rank) => [score, rank]))
  return {
    ranks: new Map(pieces.map((piece) => [piece.text, rank_of.get(piece.score)!])),
    piece_length_max: pieces.reduce((most, piece) => Math.max(most, piece.text.length), 0),
  }
}

/** User-defined pieces are cut out before anything merges, the longest match first (SentencePiece's PrefixMatcher). */
class UserDefinedPieces {
  readonly #by_first = new Map<number, string[]>()

  constructor(pieces: Piece[]) {
    const longest_first = pieces
      .filter(({ type }) => type === 'user_defined')
      .sort((a, b) => b.text.length - a.text.length)
    for (const { text } of longest_first) {
      const same_start = this.#by_first.get(text.charCodeAt(0))
      if (same_start) same_start.push(text)
      else this.#by_first.set(text.charCodeAt(0), [text])
    }
  }

  /** UTF-16 units of the piece that starts at `at`, or 0. */
  matchAt(text: string, at: number): number {
    if (this.#by_first.size === 0) return 0
    return this.#by_first.get(text.charCodeAt(at))?.find((piece) => text.startsWith(piece, at))?.length ?? 0
  }
}
