// Turns token ids back into text, one at a time: never half a code point, and never decoding an id twice. The concatenation of
// all deltas is SentencePiece's text of the whole, or the text of the pieces' bytes, except that broken UTF-8 becomes U+FFFD as Python's
// 'replace' does it.

import type { Completed } from '../../text/logprobs.ts'
import type { Piece } from './sentencepiece-file.ts'
import type { SpelledBytes, Tokenizer } from './tokenizer.ts'

const SPACE = '\u2581'

/** A token by itself: its text (a byte that is no text alone is spelled \x0a) and its bytes. */
export interface Surface {
  text: string
  bytes: number[] | null
}

export class Detokenizer {
  readonly #tokenizer: Tokenizer
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  #is_within = false // a code point
  #at_start = true // the dummy space is dropped only at the true start of the whole text

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
  }

  /** A detokenizer whose deltas continue the text of `prompt_ids`. */
  static after(tokenizer: Tokenizer, prompt_ids: readonly number[]): Detokenizer {
    const detokenizer = new Detokenizer(tokenizer)
    let at = 0
    while (at < prompt_ids.length && detokenizer.#at_start) detokenizer.push(prompt_ids[at++]!)
    // Beyond the start only an unfinished code point matters: three bytes at most.
    for (const id of prompt_ids.slice(Math.max(at, prompt_ids.length - 3))) detokenizer.push(id)
    return detokenizer
  }

  /** The text of a whole list of ids. */
  static textOf(tokenizer: Tokenizer, ids: readonly number[]): string {
    const detokenizer = new Detokenizer(tokenizer)
    return detokenizer.#pushAll(ids) + detokenizer.end()
  }

  /** The text of ids that others follow, but for a code point that they leave unfinished: a detokenizer after them goes on with it. */
  static beginningOf(tokenizer: Tokenizer, ids: readonly number[]): string {
    return new Detokenizer(tokenizer).#pushAll(ids)
  }

  /** Whether nothing was written yet. */
  get is_at_start(): boolean {
    return this.#at_start
  }

  /** What this id alone would add here, before any other is pushed; bytes are null where it has no text. */
  surface(id: number): Surface {
    const piece = this.#tokenizer.piece(id)
    if (piece === undefined || piece.type === 'control') return { text: piece?.text ?? '', bytes: null }
    const spelled_bytes = this.#tokenizer.bytesOf(id)
    if (spelled_bytes !== null) return surfaceOf(spelled_bytes)
    const text = piece.type === 'unknown' ? this.#tokenizer.model.unknown_surface : this.#spelling(spelled(piece))
    return { text, bytes: [...Buffer.from(text)] }
  }

  /** The text this id completes; empty while a code point is unfinished. */
  push(id: number): string {
    const { unfinished, text } = this.take(id)
    return unfinished + text
  }

  /** The same, by what it is of. */
  take(id: number): Completed {
    const piece = this.#tokenizer.piece(id)
    const bytes = this.#tokenizer.bytesOf(id)
    if (bytes !== null) return this.#takeBytes(bytes)
    return { unfinished: this.end(), text: this.#textOf(piece) }
  }

  /** What is left when no id follows: U+FFFD for an unfinished code point. */
  end(): string {
    this.#is_within = false
    return this.#utf8.decode()
  }

  #pushAll(ids: readonly number[]): string {
    return ids.map((id) => this.push(id)).join('')
  }

  // What the first of them ends was unfinished before; what the others end is of this token.
  #takeBytes({ bytes, text: whole }: SpelledBytes): Completed {
    if (!this.#is_within && whole !== null) return { unfinished: '', text: this.#continueWith(whole) }
    const [first, ...others] = bytes.map((byte) => this.#takeByte(byte))
    const text = others.reduce((sum, { unfinished, text }) => sum + unfinished + text, first!.text)
    return { unfinished: first!.unfinished, text }
  }

  // A byte that does not continue what is unfinished ends it, and begins anew.
  #takeByte(byte: number): Completed {
    this.#at_start = false
    const completed = [...this.#utf8.decode(Uint8Array.of(byte), { stream: true })]
    const ended = this.#is_within && (completed.length > 1 || (completed.length === 1 && !isContinuation(byte)))
    const unfinished = ended ? completed.shift()! : ''
    this.#is_within = completed.length === 0
    return { unfinished, text: completed.join('') }
  }

  #textOf(piece: Piece | undefined): string {
    if (piece === undefined || piece.type === 'control') return ''
    return this.#continueWith(
      piece.type === 'unknown' ? this.#tokenizer.model.unknown_surface : this.#spell(spelled(piece)),
    )
  }

  #spell(piece: string): string {
    const text = this.#spelling(piece)
    // A model that removes extra whitespace wrote none at the start, so every leading piece of space is a dummy.
    if (!this.#tokenizer.model.remove_extra_whitespaces) this.#at_start = false
    return text
  }

  #spelling(piece: string): string {
    const { add_dummy_prefix, remove_extra_whitespaces } = this.#tokenizer.model
    const has_dummy = this.#at_start && piece.startsWith(SPACE) && (add_dummy_prefix || remove_extra_whitespaces)
    return (has_dummy ? piece.slice(SPACE.length) : piece).replaceAll(SPACE, ' ')
  }

  #continueWith(text: string): string {
    if (text !== '') this.#at_start = false
    return text
  }
}

function spelled({ text, found_as }: Piece): string {
  return found_as ?? text
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80
}

/** Bytes that are no text by themselves are spelled out, each of them. */
function surfaceOf({ bytes, text }: SpelledBytes): Surface {
  const spelled = bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  return { text: text ?? spelled, bytes: [...bytes] }
}
