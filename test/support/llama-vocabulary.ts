// LLaMA's vocabulary as a tokenizer.model, made from the pieces that the package llama-tokenizer-js carries: Meta's own file is
// not ours to pass on. It says the same in all that a tokenizer reads (llama-vocabulary.test.ts); its bytes differ, because the
// original also tells how it was trained.

import llama from 'llama-tokenizer-js'
import { tokenizerModel } from './tokenizer-model.ts'

const SPECIAL_AND_BYTES = 3 + 256
const LAST = -1e9

/** A `tokenizer.model` of LLaMA's 32,000 pieces: also those of CodeLlama-34B, and so of Ziya-Coding-34B. */
export function llamaTokenizerModel(): Buffer {
  const pieces = llama.vocabById.slice(SPECIAL_AND_BYTES).map((text, i) => ({ text, score: scoreOf(text, i) }))
  return tokenizerModel({ pieces, add_dummy_prefix: true })
}

/** A piece's rank is its place in the vocabulary; runs of spaces come last, so that words take their space first. */
function scoreOf(text: string, i: number): number {
  return /^\u2581+$/.test(text) ? LAST : -i
}
