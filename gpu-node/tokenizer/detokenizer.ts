// Token ids back to text, one at a time: never half a code point, and never decoding an id twice. The concatenation of
// all deltas is SentencePiece's text of the whole, except that broken UTF-8 becomes U+FFFD as Python's 'replace' does it.

import type { Tokenizer } from './tokenizer.ts'

const SPACE = '\u2581'

export class Detokenizer {
  readonly #tokenizer: Tokenizer
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
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

  /** The text this id completes; empty while a code point is unfinished. */
  push(id: number): string {
    const piece = this.#tokenizer.piece(id)
    if (piece?.type === 'byte') {
      this.#at_start = false
      return this.#utf8.decode(Uint8Array.of(byteOf(piece.text)), { stream: true })
    }
    const unfinished = this.#utf8.decode()
    if (piece === undefined || piece.type === 'control') return unfinished
    if (piece.type === 'unknown') return unfinished + this.#continueWith(this.#tokenizer.model.unknown_surface)
    return unfinished + this.#continueWith(this.#spell(piece.text))
  }

  /** What is left when no id follows: U+FFFD for an unfinished code point. */
  end(): string {
    return this.#utf8.decode()
  }

  #spell(piece: string): string {
    const { add_dummy_prefix, remove_extra_whitespaces } = this.#tokenizer.model
    if (!this.#at_start || !piece.startsWith(SPACE) || !(add_dummy_prefix || remove_extra_whitespaces)) {
      return piece.replaceAll(SPACE, ' ')
    }
    // A model that removes extra whitespace wrote none at the start, so every leading piece of space is a dummy.
    if (!remove_extra_whitespaces) this.#at_start = false
    return piece.slice(SPACE.length).replaceAll(SPACE, ' ')
  }

  #continueWith(text: string): string {
    if (text !== '') this.#at_start = false
    return text
  }
}

function byteOf(piece: string): number {
  return Number.parseInt(piece.slice(3, 5), 16)
}
