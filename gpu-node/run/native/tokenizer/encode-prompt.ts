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

/**
 * The last ids of all parts together, as many as are wanted where they have as many. Refuses as above; null where a text is so long
 * that its end cannot be found.
 */
export function encodePromptEnd(
  parts: PromptPart[],
  tokenizer: Tokenizer,
  { vocab_size, tokens_max }: { vocab_size: number; tokens_max: number },
): number[] | null {
  const kept: number[][] = []
  let room = tokens_max
  for (const part of parts.toReversed()) {
    const ids = 'text' in part ? endOfText(part.text, tokenizer, room) : encodePrompt([part], tokenizer, vocab_size)
    if (ids === null) return null
    const end = room > 0 ? ids.slice(-room) : []
    kept.unshift(end)
    room -= end.length
  }
  return kept.flat()
}

function endOfText(text: string, tokenizer: Tokenizer, tokens_max: number): number[] | null {
  return tokens_max === 0 ? [] : tokenizer.encodeEnd(text, tokens_max)
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
