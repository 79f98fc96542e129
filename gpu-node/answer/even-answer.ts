// A stream in the background, which may be begun anew elsewhere and must then say the same bytes again: its pieces follow from its text
// alone, and not from the steps that made it.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { TokenLogprob } from '../run/runner.ts'
import type { Answer } from './answer.ts'
import type { Ending, Failure } from './public-shape.ts'

const PIECE_LENGTH = 32 // UTF-16 units

export class EvenAnswer implements Answer {
  readonly #answer: Answer // of one choice
  readonly #has_logprobs: boolean
  #held = ''
  #offset = 0 // code points before it
  #logprobs: TokenLogprob[] = []
  #is_open = false

  constructor(answer: Answer, { logprobs }: GenerateRequest) {
    this.#answer = answer
    this.#has_logprobs = logprobs !== null
  }

  get content_type(): string {
    return this.#answer.content_type
  }

  text(_: number, text: string, logprobs: readonly TokenLogprob[] = []): void {
    if (!this.#is_open) this.#answer.text(0, '')
    this.#is_open = true
    this.#held += text
    this.#logprobs.push(...logprobs)
    while (this.#held.length > PIECE_LENGTH && this.#say(pieceOf(this.#held)));
  }

  finish(_: number, ending: Ending): void {
    this.#flush()
    this.#answer.finish(0, ending)
  }

  end(usage: Usage): void {
    this.#flush()
    this.#answer.end(usage)
  }

  error(why: Failure): void {
    this.#answer.error(why)
  }

  get has_bytes(): boolean {
    return this.#answer.has_bytes
  }

  take(): string {
    return this.#answer.take()
  }

  /** A piece goes with the tokens that begin in it; false while not all of them are known. */
  #say(piece: string): boolean {
    const end = this.#offset + [...piece].length
    const last = this.#logprobs.at(-1)
    if (this.#has_logprobs && !(last && last.offset + [...last.text].length >= end)) return false
    const after = this.#logprobs.findIndex(({ offset }) => offset >= end)
    const own = this.#logprobs.splice(0, after < 0 ? this.#logprobs.length : after)
    this.#held = this.#held.slice(piece.length)
    this.#offset = end
    this.#answer.text(0, piece, own)
    return true
  }

  #flush(): void {
    if (this.#held !== '' || this.#logprobs.length > 0) this.#answer.text(0, this.#held, this.#logprobs)
    this.#held = ''
    this.#logprobs = []
  }
}

/** Never half a character. */
function pieceOf(text: string): string {
  const last = text.charCodeAt(PIECE_LENGTH - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? PIECE_LENGTH - 1 : PIECE_LENGTH)
}
