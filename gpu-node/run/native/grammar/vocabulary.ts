// The bytes that each token adds to a text, for the grammar that decides which may come. Tokens that are no text (control pieces,
// added ones, the unknown) have none, so that a grammar never takes them.

import type { Piece } from '../tokenizer/sentencepiece-file.ts'
import type { Tokenizer } from '../tokenizer/tokenizer.ts'

export interface TokenBytes {
  bytes: Uint8Array
  ends: Int32Array // of each token's bytes, behind those of the one before
}

const SPACE = '\u2581'

/** At the start of a whole text, a piece's leading space is not written. The network may have more rows than there are pieces. */
export function tokenBytes(tokenizer: Tokenizer, vocab_size: number, { at_start }: { at_start: boolean }): TokenBytes {
  const spellings = Array.from({ length: vocab_size }, (_, id) => bytesOfToken(tokenizer, id, at_start))
  let end = 0
  const ends = Int32Array.from(spellings, ({ length }) => {
    end += length
    return end
  })
  return { bytes: Uint8Array.from(Buffer.concat(spellings)), ends }
}

const NONE = Buffer.alloc(0)

function bytesOfToken(tokenizer: Tokenizer, id: number, at_start: boolean): Buffer {
  const spelled = tokenizer.bytesOf(id)
  return spelled ? Buffer.from(spelled.bytes) : bytesOfText(tokenizer, tokenizer.piece(id), at_start)
}

function bytesOfText({ model }: Tokenizer, piece: Piece | undefined, at_start: boolean): Buffer {
  if (piece?.type !== 'normal' && piece?.type !== 'user_defined') return NONE
  const { text, found_as = text } = piece
  const drops_space = at_start && (model.add_dummy_prefix || model.remove_extra_whitespaces)
  const written = drops_space && found_as.startsWith(SPACE) ? found_as.slice(SPACE.length) : found_as
  return Buffer.from(written.replaceAll(SPACE, ' '))
}

/** Spells bytes in the longest tokens that they begin with, as far as there are any. */
export function spelling({ bytes, ends }: TokenBytes): (text: Uint8Array) => number[] {
  const ids = new Map<string, number>()
  let length_max = 0
  for (const [id, end] of ends.entries()) {
    const own = Buffer.from(bytes.subarray(id === 0 ? 0 : ends[id - 1]!, end)).toString('latin1')
    if (!ids.has(own)) ids.set(own, id)
    length_max = Math.max(length_max, own.length)
  }
  ids.delete('')
  return (text) => {
    const whole = Buffer.from(text).toString('latin1')
    const tokens: number[] = []
    for (let at = 0; at < whole.length; ) {
      let length = Math.min(length_max, whole.length - at)
      while (length > 0 && !ids.has(whole.slice(at, at + length))) length--
      if (length === 0) break
      tokens.push(ids.get(whole.slice(at, at + length))!)
      at += length
    }
    return tokens
  }
}
