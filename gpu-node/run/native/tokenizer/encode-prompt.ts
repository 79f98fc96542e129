// Turns a formatted prompt into token ids. Every text part is encoded by itself, with its own dummy prefix, as the slow
// LlamaTokenizer of Hugging Face (legacy behaviour) does between special tokens.

import type { PromptPart } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Ids of all parts in order. Refuses `unknown_special` and, for ids the network has no row for, `invalid_token_id`. */
export function encodePrompt(parts: PromptPart[], tokenizer: Tokenizer, vocab_size: number): number[] {
  return parts.flatMap((part) => {
    if ('text' in part) return tokenizer.encode(part.text)
    if ('special' in part) return [specialId(part.special, tokenizer)]
    return part.tokens.map((id) => checkedId(id, vocab_size))
  })
}

function specialId(text: string, tokenizer: Tokenizer): number {
  const id = tokenizer.specialId(text)
  if (id === null) throw new Refusal('unknown_special', `The model has no special token ${JSON.stringify(text)}.`)
  return id
}

function checkedId(id: number, vocab_size: number): number {
  if (id >= vocab_size) {
    throw new Refusal('invalid_token_id', `Token id ${id} is outside the vocabulary of ${vocab_size}.`, {
      param: 'prompt',
    })
  }
  return id
}
