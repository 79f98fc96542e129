// Turns a formatted prompt into token ids. Every text part is encoded by itself, with its own dummy prefix, as the slow
// LlamaTokenizer of Hugging Face (legacy behaviour) does between special tokens.

import assert from 'node:assert/strict'
import type { PromptPart } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import { BEGIN, type Tokenizer } from './tokenizer.ts'

/** Ids of all parts in order. Refuses `unknown_special` and, for ids that no piece has, `invalid_token_id`. */
export function encodePrompt(parts: PromptPart[], tokenizer: Tokenizer): number[] {
  const ids = parts.flatMap((_, i) => encodePart(parts, i, tokenizer))
  if (ids.length > 0 || tokenizer.begin_id !== null || !isBegin(parts[0])) return ids
  // Nothing at all cannot be continued, so that even a model without a beginning begins somehow.
  return [tokenizer.lone_id ?? specialId(BEGIN, tokenizer)]
}

function encodePart(parts: PromptPart[], i: number, tokenizer: Tokenizer): number[] {
  const part = parts[i]!
  if ('text' in part) return tokenizer.encode(part.text, { is_first: isFirstText(parts, i) })
  assert('special' in part || 'tokens' in part, 'a prompt is formatted before it is encoded')
  if ('tokens' in part) return part.tokens.map((id) => checkedId(id, tokenizer))
  if (i === 0 && isBegin(part)) return tokenizer.begin_id === null ? [] : [tokenizer.begin_id]
  return [specialId(part.special, tokenizer)]
}

/** Whether nothing comes before it but the beginning of the sequence. */
function isFirstText(parts: PromptPart[], i: number): boolean {
  return i === 0 || (i === 1 && isBegin(parts[0]))
}

function isBegin(part: PromptPart | undefined): boolean {
  return part !== undefined && 'special' in part && part.special === BEGIN
}

/**
 * The last ids of all parts together, as many as are wanted where they have as many. Refuses as above; null where a text is so long
 * that its end cannot be found.
 */
export function encodePromptEnd(
  parts: PromptPart[],
  tokenizer: Tokenizer,
  { tokens_max }: { tokens_max: number },
): number[] | null {
  const kept: number[][] = []
  let room = tokens_max
  for (const [i, part] of [...parts.entries()].toReversed()) {
    const is_first = isFirstText(parts, i)
    const ids = 'text' in part ? endOfText(part.text, tokenizer, room, is_first) : encodePart(parts, i, tokenizer)
    if (ids === null) return null
    const end = room > 0 ? ids.slice(-room) : []
    kept.unshift(end)
    room -= end.length
  }
  return kept.flat()
}

function endOfText(text: string, tokenizer: Tokenizer, tokens_max: number, is_first: boolean): number[] | null {
  return tokens_max === 0 ? [] : tokenizer.encodeEnd(text, tokens_max, { is_first })
}

function specialId(text: string, tokenizer: Tokenizer): number {
  const id = tokenizer.specialId(text)
  if (id === null) throw new Refusal('unknown_special', `The model has no special token ${JSON.stringify(text)}.`)
  return id
}

function checkedId(id: number, tokenizer: Tokenizer): number {
  refuseStrangeIds('prompt', [id], tokenizer)
  return id
}

// An id that the network has no row for would be written beside the scores of this sequence's row; one that no piece has has no text.
export function refuseStrangeIds(param: string, ids: readonly number[], tokenizer: Tokenizer): void {
  const strange = ids.find((id) => !tokenizer.has(id))
  if (strange === undefined) return
  const message = `Token id ${strange} is outside the vocabulary of ${tokenizer.size}.`
  throw new Refusal('invalid_token_id', message, { param })
}
