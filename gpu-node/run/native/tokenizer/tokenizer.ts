// Turns text into token ids exactly as Google's SentencePiece (BPE, identity normalizer, byte fallback) does it, or as Hugging Face's
// tokenizers do for a model that says in which order pairs merge, of text or of bytes. Special pieces are never found in text: a caller that
// writes "<s>" gets the tokens of three characters.

import { bytesOfPiece, isBetweenWords, spelledBytes, type WordRule, wordsOf } from './byte-level.ts'
import { type MergeTable, mergeSymbols } from './merge.ts'
import {
  bytePiece,
  isMerged,
  type Piece,
  type PieceType,
  parseTokenizerModel,
  type TokenizerModel,
} from './sentencepiece-file.ts'

const SPACE = '\u2581' // how pieces spell a space

/** How a prompt says that a sequence begins. Which piece that is, and whether there is one, the folder of the model says. */
export const BEGIN = '<s>'

const LOOKED_BACK_MIN = 4096 // UTF-16 units in which a place to cut is looked for, or as many as are kept

/** The bytes of a piece, and their text where the piece is one by itself, and no single byte. */
export interface SpelledBytes {
  bytes: readonly number[]
  text: string | null
}

const strict_utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true })

function spelledAs(bytes: readonly number[]): SpelledBytes {
  try {
    return { bytes, text: strict_utf8.decode(Uint8Array.from(bytes)) }
  } catch {
    return { bytes, text: null }
  }
}

export class Tokenizer {
  readonly model: TokenizerModel
  /** What a sequence begins with; null where that is nothing. */
  readonly begin_id: number | null
  /** What stands for the beginning where nothing else would be there to be continued; null where no piece can. */
  readonly lone_id: number | null
  readonly #ids: ReadonlyMap<string, number>
  readonly #spellable: ReadonlyMap<string, number> // what text can become: normal and user-defined pieces
  readonly #merges: MergeTable
  readonly #piece_length_max: number // of what a token may stand for in a text, in UTF-16 units
  readonly #byte_ids: number[]
  readonly #unknown_id: number | undefined
  readonly #user_defined: PrefixMatcher
  readonly #added: PrefixMatcher
  readonly #words: WordIds | null // where pieces spell bytes
  readonly #spelled: (SpelledBytes | null)[] = [] // of the pieces that were asked for
  #seams: Seams | null = null // made for the first text that is cut

  /** `model` is what a file says, or the bytes of a tokenizer.model. A sequence begins with LLaMA's own piece where nothing else is said. */
  constructor(model: TokenizerModel | Uint8Array, begin_id?: number | null, lone_id?: number | null) {
    this.model = model instanceof Uint8Array ? parseTokenizerModel(model) : model
    const pieces = [...this.model.pieces.entries()]
    const spellable = pieces.filter(([, piece]) => isMerged(piece) || piece.type === 'user_defined')
    this.#ids = new Map(pieces.map(([id, piece]) => [piece.text, id]))
    this.#spellable = new Map(spellable.map(([id, { text, found_as = text }]) => [found_as, id]))
    this.#merges = this.model.merges ?? byScore(spellable.map(([, piece]) => piece))
    this.#byte_ids = Array.from({ length: 256 }, (_, byte) => this.#ids.get(bytePiece(byte))!)
    this.begin_id = begin_id === undefined ? (this.#ids.get(BEGIN) ?? null) : begin_id
    this.lone_id = this.begin_id ?? lone_id ?? this.specialId(BEGIN)
    const spell = (word: string) => this.#withoutDropped(spelledBytes(word))
    const of_words = { merges: this.#merges, ids: this.#spellable, takes_whole: this.model.takes_whole_words }
    this.#words = this.model.word_rule && new WordIds(of_words, spell)
    this.#unknown_id = pieces.find(([, { type }]) => type === 'unknown')?.[0]
    const textsOf = (wanted: PieceType) =>
      this.model.pieces.filter(({ type }) => type === wanted).map(({ text, found_as = text }) => found_as)
    const added = textsOf('added')
    this.#user_defined = new PrefixMatcher(textsOf('user_defined'))
    this.#added = new PrefixMatcher(added)
    const longest = added.reduce((most, { length }) => Math.max(most, length), this.#merges.piece_length_max)
    const { unspelled } = this.model
    const is_bounded = this.#words !== null || unspelled === 'bytes' || unspelled === 'unknown_characters'
    this.#piece_length_max = is_bounded ? longest : Number.POSITIVE_INFINITY
  }

  /** Pieces in the model. A network may have a few more rows, as padding. */
  get size(): number {
    return this.model.pieces.length
  }

  piece(id: number): Piece | undefined {
    return this.model.pieces[id]
  }

  /** What a piece spells that is of bytes; null of one that is of text or of nothing. */
  bytesOf(id: number): SpelledBytes | null {
    this.#spelled[id] ??= this.#spelledBytes(this.model.pieces[id])
    return this.#spelled[id]
  }

  #spelledBytes(piece: Piece | undefined): SpelledBytes | null {
    if (piece?.type === 'byte') return { bytes: [Number.parseInt(piece.text.slice(3, 5), 16)], text: null }
    return this.#words && piece?.type === 'normal' ? spelledAs(bytesOfPiece(piece.text)) : null
  }

  /** The id of a control, user-defined or added piece, or null where the vocabulary has none of this text. */
  specialId(text: string): number | null {
    const id = this.#ids.get(text)
    if (id === undefined) return null
    const type = this.model.pieces[id]!.type
    return type === 'control' || type === 'user_defined' || type === 'added' ? id : null
  }

  /** The id of a control piece: one without text of its own. */
  controlId(text: string): number | null {
    const id = this.#ids.get(text)
    return id !== undefined && this.model.pieces[id]!.type === 'control' ? id : null
  }

  /** Fewer tokens than this no text of this length has: a bound that costs nothing, for texts far too long. */
  tokensMin(text: string): number {
    if (this.model.remove_extra_whitespaces) return 0 // it may be all spaces
    return Math.ceil(text.length / Math.max(1, this.#piece_length_max))
  }

  /** Whether this id is one that the vocabulary has a piece for: no padding, and no hole in it. */
  has(id: number): boolean {
    const piece = this.model.pieces[id]
    return piece !== undefined && piece.type !== 'unused'
  }

  /**
   * Token ids of one text, without BOS. Lone surrogates count as U+FFFD. Something may come before it: where only the first text of a
   * prompt has a dummy prefix, this one then has none.
   */
  encode(text: string, { is_first = true } = {}): number[] {
    return this.#encode(text.toWellFormed(), this.#hasPrefix(is_first))
  }

  #hasPrefix(is_first: boolean): boolean {
    return is_first || this.model.prefixes === 'each_text'
  }

  /**
   * The last ids of one text, as many as are wanted where it has as many. Of a longer text only its end is read, from a place that no
   * token can lie across; null where there is no such place near.
   */
  encodeEnd(text: string, tokens_max: number, { is_first = true } = {}): number[] | null {
    const whole = text.toWellFormed()
    const begin = this.#placeToCut(whole, tokens_max * this.#piece_length_max)
    if (begin === null) return null
    return this.#encode(whole.slice(begin), begin === 0 && this.#hasPrefix(is_first)).slice(-tokens_max)
  }

  #placeToCut(text: string, length_min: number): number | null {
    if (text.length <= length_min || this.model.remove_extra_whitespaces) return 0
    const latest = text.length - length_min
    const earliest = Math.max(1, latest - Math.max(length_min, LOOKED_BACK_MIN))
    this.#seams ??= new Seams(this.model)
    for (let at = latest; at >= earliest; at--) if (this.#seams.isBetweenTokens(text, at)) return at
    return earliest === 1 ? 0 : null
  }

  #encode(whole: string, has_prefix: boolean): number[] {
    const ids: number[] = []
    let begin = 0
    const append = (end: number) =>
      this.#appendSegment(ids, whole.slice(begin, end), begin === 0 ? has_prefix : this.#hasPrefix(false))
    for (let at = 0; at < whole.length && !this.#added.is_empty; ) {
      const length = this.#added.matchAt(whole, at)
      if (length > 0) {
        append(at)
        ids.push(this.#ids.get(whole.slice(at, at + length))!)
        begin = at + length
      }
      at += Math.max(1, length)
    }
    append(whole.length)
    return ids
  }

  #appendSegment(ids: number[], text: string, has_prefix: boolean): void {
    if (this.#words) {
      this.#appendWords(ids, text, this.#words)
      return
    }
    const normalized = this.#normalize(text, has_prefix)
    const { starts, frozen } = this.#firstSymbols(normalized)
    const merged = mergeSymbols(normalized, starts, frozen, this.#merges)
    let follows_unknown = false // what one unknown piece stands for is a run of characters, in one segment
    for (const [i, start] of merged.entries()) {
      const id = this.#appendIds(ids, normalized.slice(start, merged[i + 1]), follows_unknown)
      follows_unknown = id === null
    }
  }

  #appendWords(ids: number[], text: string, words: WordIds): void {
    for (const word of wordsOf(text, this.model.word_rule!)) for (const id of words.idsOf(word)) ids.push(id)
  }

  // This is Normalizer::Normalize with the identity rule. Extra whitespace is only ever U+0020 there.
  #normalize(text: string, has_prefix: boolean): string {
    const kept = this.model.remove_extra_whitespaces ? this.#removeExtraSpaces(text) : text
    if (kept === '') return ''
    const { add_dummy_prefix, is_metaspace } = this.model
    const spelled = this.#withoutDropped(spelledSpaces(kept))
    return has_prefix && add_dummy_prefix && !(is_metaspace && spelled.startsWith(SPACE)) ? SPACE + spelled : spelled
  }

  // They are gone before anything merges, so that what stood around one may merge.
  #withoutDropped(text: string): string {
    if (this.model.unspelled !== 'dropped') return text
    return [...text].filter((character) => this.#spellable.has(character)).join('')
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

  /** Returns the id, or null where no piece spells it. */
  #appendIds(ids: number[], piece: string, follows_unknown: boolean): number | null {
    const id = this.#spellable.get(piece)
    if (id !== undefined) ids.push(id)
    else if (this.model.unspelled === 'bytes')
      for (const byte of Buffer.from(piece, 'utf8')) ids.push(this.#byte_ids[byte]!)
    else if (this.#unknown_id !== undefined && this.#countsUnknown(follows_unknown)) ids.push(this.#unknown_id)
    return id ?? null
  }

  #countsUnknown(follows_unknown: boolean): boolean {
    const { unspelled } = this.model
    return unspelled === 'unknown_characters' || (unspelled === 'unknown_run' && !follows_unknown)
  }
}

function spelledSpaces(text: string): string {
  return text.replaceAll(' ', SPACE)
}

const WORDS_MAX = 1 << 14
const WORD_LENGTH_MAX = 64

/** The ids of words whose bytes merge, some of which are remembered: a text has few that are rare. */
class WordIds {
  readonly #merges: MergeTable
  readonly #ids: ReadonlyMap<string, number>
  readonly #spell: (word: string) => string
  readonly #takes_whole: boolean // a word that is a piece, whatever merges would make of it
  readonly #known = new Map<string, readonly number[]>()

  constructor(
    { merges, ids, takes_whole }: { merges: MergeTable; ids: ReadonlyMap<string, number>; takes_whole: boolean },
    spell: (word: string) => string,
  ) {
    this.#merges = merges
    this.#ids = ids
    this.#spell = spell
    this.#takes_whole = takes_whole
  }

  idsOf(word: string): readonly number[] {
    const known = this.#known.get(word)
    if (known) return known
    const ids = this.#merged(this.#spell(word))
    if (word.length > WORD_LENGTH_MAX) return ids
    if (this.#known.size === WORDS_MAX) this.#known.clear()
    this.#known.set(word, ids)
    return ids
  }

  #merged(letters: string): number[] {
    const whole = this.#ids.get(letters)
    if (whole !== undefined && (letters.length === 1 || this.#takes_whole)) return [whole]
    const starts = mergeSymbols(
      letters,
      Array.from(letters, (_, i) => i),
      NOTHING_FROZEN,
      this.#merges,
    )
    return starts.map((start, i) => this.#ids.get(letters.slice(start, starts[i + 1]))!)
  }
}

const NOTHING_FROZEN: ReadonlySet<number> = new Set()

/**
 * Where a text can be cut without changing its tokens: between two characters that no piece has beside each other, for whatever merges
 * or is cut out is a piece; or where pieces are of words, between two of those.
 */
class Seams {
  readonly #neighbours = new Set<number>() // in pieces, as texts are spelled for them
  readonly #added: readonly string[] // they stand in the text itself, and a dummy prefix behind them
  readonly #word_rule: WordRule | null

  constructor({ pieces, word_rule }: TokenizerModel) {
    this.#word_rule = word_rule
    if (!word_rule) for (const { text, found_as = text, type } of pieces) if (type !== 'byte') this.#learn(found_as)
    this.#added = pieces.filter(({ type }) => type === 'added').map(({ text, found_as = text }) => found_as)
    for (const text of this.#added) this.#learn(spelledSpaces(text))
  }

  isBetweenTokens(text: string, at: number): boolean {
    const [before, behind] = [at - 1, at].map((i) => unitOf(text, i)) as [number, number]
    if (this.#neighbours.has(before * 0x10000 + behind) || isLowSurrogate(behind)) return false
    if (this.#word_rule && !isBetweenWords(text, at, this.#word_rule)) return false
    return !this.#added.some((added) => text.startsWith(added, at - added.length))
  }

  #learn(text: string): void {
    for (let i = 1; i < text.length; i++) this.#neighbours.add(text.charCodeAt(i - 1) * 0x10000 + text.charCodeAt(i))
  }
}

function unitOf(text: string, at: number): number {
  const unit = text.charCodeAt(at)
  return unit === 0x20 ? SPACE.charCodeAt(0) : unit
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}

/** Any two neighbours whose text is a piece, the best score first. */
function byScore(pieces: Piece[]): MergeTable {
  const scores = [...new Set(pieces.map((piece) => piece.score))].sort((a, b) => b - a)
  const rank_of = new Map(scores.map((score, rank) => [score, rank]))
  const ranks = new Map(pieces.map((piece) => [piece.text, rank_of.get(piece.score)!]))
  return {
    rankOf: (text, start, _, end) => ranks.get(text.slice(start, end)),
    piece_length_max: pieces.reduce((most, piece) => Math.max(most, piece.text.length), 0),
  }
}

/** Texts that are cut out before anything merges, the longest match first (as SentencePiece's PrefixMatcher). */
class PrefixMatcher {
  readonly #by_first = new Map<number, string[]>()

  constructor(texts: string[]) {
    for (const text of texts.toSorted((a, b) => b.length - a.length)) {
      const same_start = this.#by_first.get(text.charCodeAt(0))
      if (same_start) same_start.push(text)
      else this.#by_first.set(text.charCodeAt(0), [text])
    }
  }

  get is_empty(): boolean {
    return this.#by_first.size === 0
  }

  /** UTF-16 units of the text that starts at `at`, or 0. */
  matchAt(text: string, at: number): number {
    if (this.is_empty) return 0
    return this.#by_first.get(text.charCodeAt(at))?.find((piece) => text.startsWith(piece, at))?.length ?? 0
  }
}
