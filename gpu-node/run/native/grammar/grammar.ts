// Grammars that are ready to be followed, over the vocabulary of one model; and where in one a sequence stands. That follows from
// the sequence's output alone, so it is never lost: after a preemption it is where it was, and a draft is tried without moving it.

import type { Constraint, FinishReason } from '../../../../contract/internal/generation.ts'
import type { NativeGrammar, NativeVocabulary } from '../engine.ts'

export interface Vocabularies {
  words: number // of a mask, 32 tokens each
  plain: NativeVocabulary
  at_start: NativeVocabulary // for the first token of a text
  spell: (bytes: Uint8Array) => number[] // in tokens, the longest first
}

const DEAD = -1
const STATES_BYTES_MAX = 64 << 20
const FORCED_BYTES_A_TOKEN = 8

/** A grammar that many sequences follow. */
export class Grammar {
  readonly native: NativeGrammar
  readonly vocabularies: Vocabularies
  readonly constraint: Constraint // that it was made of
  #epoch = 0

  constructor(native: NativeGrammar, vocabularies: Vocabularies, constraint: Constraint) {
    this.native = native
    this.vocabularies = vocabularies
    this.constraint = constraint
  }

  /** Changes when the states that were given out are no longer valid. */
  get epoch(): number {
    return this.#epoch
  }

  /** Frees what it remembers, where that is much. */
  trim(bytes_max = STATES_BYTES_MAX): void {
    if (this.native.trim(bytes_max)) this.#epoch++
  }
}

export interface ReadingOptions {
  grammar: Grammar
  at_start: boolean // the output is the beginning of a text: nothing is written before it
  stop_ids: ReadonlySet<number>
}

/** What a sequence has written of a grammar's text. Tokens that end it are allowed where the text is whole, and only there. */
export class Reading {
  readonly #options: ReadingOptions
  readonly #output: number[] = []
  #state: number
  #epoch: number
  readonly #stop_ids: Int32Array
  readonly #scratch: Int32Array

  constructor(options: ReadingOptions) {
    const { native } = options.grammar
    this.#options = options
    this.#state = native.start()
    this.#epoch = options.grammar.epoch
    this.#stop_ids = Int32Array.from(options.stop_ids)
    this.#scratch = new Int32Array(options.grammar.vocabularies.words)
  }

  get mask_words(): number {
    return this.#options.grammar.vocabularies.words
  }

  /** Whether any token could be drawn: none where a grammar has too many readings from the start. */
  get can_begin(): boolean {
    const state = this.#current()
    return state !== DEAD && this.#endAt(state, this.#output.length) === null
  }

  /**
   * A token was drawn. Says whether it was the last: the text is whole and nothing can follow, or no token goes on with it, as
   * may be where a vocabulary lacks some bytes.
   */
  append(token: number): FinishReason | null {
    this.#options.grammar.trim()
    const state = this.#step(this.#current(), token, this.#output.length)
    this.#output.push(token)
    if (state === DEAD) return 'length' // the engine draws nothing that the mask leaves out
    this.#state = state
    return this.#endAt(state, this.#output.length)
  }

  /** So many of a draft's tokens can be drawn one after the other, with another behind each. */
  cut(draft: readonly number[]): readonly number[] {
    let state = this.#current()
    for (const [i, token] of draft.entries()) {
      const at = this.#output.length + i
      state = this.#step(state, token, at)
      if (state === DEAD || this.#endAt(state, at + 1) !== null) return draft.slice(0, i)
    }
    return draft
  }

  /** What the grammar forces from here on, in at most so many tokens. A model may draw other tokens that say the same. */
  forced(tokens_max: number): number[] {
    const { native, vocabularies } = this.#options.grammar
    return vocabularies.spell(native.forced(this.#current(), tokens_max * FORCED_BYTES_A_TOKEN)).slice(0, tokens_max)
  }

  /** Whether its next mask is at hand; else it may take milliseconds to make. */
  get has_mask(): boolean {
    return this.#hasMaskAt(this.#current(), this.#output.length)
  }

  makeMask(): void {
    this.#maskAt(this.#current(), this.#output.length, this.#scratch)
  }

  /** So much of a draft has its masks at hand, or gets them: `mayMake` makes one, or says that it may not be made. */
  masked(draft: readonly number[], mayMake: (make: () => void) => boolean): readonly number[] {
    let state = this.#current()
    for (const [i, token] of draft.entries()) {
      const at = this.#output.length + i
      state = this.#step(state, token, at)
      const make = () => this.#maskAt(state, at + 1, this.#scratch)
      if (!this.#hasMaskAt(state, at + 1) && !mayMake(make)) return draft.slice(0, i)
    }
    return draft
  }

  /** Puts into `words` what may be drawn behind the output and these tokens, a bit each. */
  mask(drafted: readonly number[], words: Int32Array): void {
    const at = this.#output.length
    const state = drafted.reduce((state, token, i) => this.#step(state, token, at + i), this.#current())
    this.#maskAt(state, at + drafted.length, words)
  }

  #current(): number {
    const { grammar } = this.#options
    if (this.#epoch !== grammar.epoch) {
      this.#epoch = grammar.epoch
      this.#state = this.#output.reduce((state, token, i) => this.#step(state, token, i), grammar.native.start())
    }
    return this.#state
  }

  #step(state: number, token: number, at: number): number {
    return this.#options.grammar.native.advance(state, this.#vocabularyAt(at), token)
  }

  #vocabularyAt(at: number): NativeVocabulary {
    const { grammar, at_start } = this.#options
    return at === 0 && at_start ? grammar.vocabularies.at_start : grammar.vocabularies.plain
  }

  #hasMaskAt(state: number, at: number): boolean {
    return this.#options.grammar.native.hasMask(state, this.#vocabularyAt(at))
  }

  #maskAt(state: number, at: number, words: Int32Array): void {
    const { grammar, stop_ids } = this.#options
    grammar.native.mask(state, this.#vocabularyAt(at), words)
    const is_whole = grammar.native.accepts(state)
    for (const id of stop_ids) {
      if (is_whole) words[id >> 5]! |= 1 << (id & 31)
      else words[id >> 5]! &= ~(1 << (id & 31))
    }
  }

  #endAt(state: number, at: number): FinishReason | null {
    const { native } = this.#options.grammar
    if (native.goesOn(state, this.#vocabularyAt(at), this.#stop_ids)) return null
    return native.accepts(state) ? 'stop' : 'length'
  }
}
