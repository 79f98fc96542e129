// The grammars that a node has prepared, by what was asked for: each is compiled once and kept while it is used.

import { createHash } from 'node:crypto'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { openAddon } from '../engine.ts'
import type { Model } from '../load/model-folder.ts'
import { Grammar, type Vocabularies } from './grammar.ts'
import { GrammarCompiler, type WrittenConstraint } from './grammar-compiler.ts'
import { spelling, type TokenBytes, tokenBytes } from './vocabulary.ts'

const KEPT_MAX = 256
const KEPT_BYTES_MAX = 512 << 20

export class Grammars {
  readonly #vocabularies: Vocabularies
  readonly #compiler = new GrammarCompiler()
  readonly #kept = new Map<string, Promise<Grammar>>() // what was asked for last is last
  readonly #bytes = new Map<string, number>()

  /** Reads the model's vocabulary, which takes a while: nobody who asks should wait for that. */
  constructor(model: Pick<Model, 'shape' | 'tokenizer'>) {
    this.#vocabularies = vocabulariesOf(model)
  }

  /** Refuses what cannot be held. The accounts take turns. */
  async prepare(constraint: Constraint, account = ''): Promise<Grammar> {
    const json = JSON.stringify(constraint)
    const key = createHash('sha256').update(json).digest('base64')
    const known = this.#kept.get(key)
    const grammar = known ?? this.#compile({ constraint, json }, account)
    this.#kept.delete(key)
    this.#kept.set(key, grammar)
    try {
      this.#bytes.set(key, (await grammar).native.bytes())
    } catch (error) {
      this.#forget(key, grammar) // what was refused for want of time or room may be asked for again
      throw error
    }
    this.#dropOldest()
    return grammar
  }

  async close(): Promise<void> {
    await this.#compiler.close()
  }

  async #compile(written: WrittenConstraint, account: string): Promise<Grammar> {
    const program = await this.#compiler.compile(written, account)
    const { NativeGrammar } = openAddon()
    return new Grammar(new NativeGrammar(program), this.#vocabularies, written.constraint)
  }

  #forget(key: string, grammar: Promise<Grammar>): void {
    if (this.#kept.get(key) !== grammar) return
    this.#kept.delete(key)
    this.#bytes.delete(key)
  }

  #dropOldest(): void {
    let bytes = this.#bytes.values().reduce((sum, one) => sum + one, 0)
    for (const key of this.#bytes.keys()) {
      if (this.#kept.size <= KEPT_MAX && bytes <= KEPT_BYTES_MAX) return
      bytes -= this.#bytes.get(key)!
      this.#kept.delete(key)
      this.#bytes.delete(key)
    }
  }
}

function vocabulariesOf({ tokenizer, shape }: Pick<Model, 'shape' | 'tokenizer'>): Vocabularies {
  const { NativeVocabulary } = openAddon()
  const [plain, at_start] = [false, true].map((at_start) => tokenBytes(tokenizer, shape.vocab_size, { at_start }))
  const vocabulary = ({ bytes, ends }: TokenBytes, number: number) => new NativeVocabulary(bytes, ends, number)
  return {
    words: Math.ceil(shape.vocab_size / 32),
    plain: vocabulary(plain!, 0),
    at_start: vocabulary(at_start!, 1),
    spell: spelling(plain!),
  }
}
