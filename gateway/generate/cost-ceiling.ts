// The most a request can cost, known without a tokenizer: a token is at least one byte of text, a text part may begin with one
// piece more (the space SentencePiece puts in front), a special is one token, ids count themselves. A prompt longer than the
// context is refused by the node, so none costs more than that; of one that is truncated the node computes what is kept.

import { choicesOf, type GenerateRequest, type PromptPart } from '../../contract/internal/generation.ts'

export interface CostCeiling {
  prompt_tokens_max: number // over all prompts
  request_output_tokens_max: number // over all choices
}

export function costCeiling(request: GenerateRequest, context_tokens: number): CostCeiling {
  let prompt_tokens_max = repairTokensMax(request)
  const kept_max = typeof request.truncate_prompt === 'number' ? request.truncate_prompt : context_tokens
  for (const prompt of request.prompts) prompt_tokens_max += Math.min(promptTokensMax(prompt), context_tokens, kept_max)
  return { prompt_tokens_max, request_output_tokens_max: request.max_tokens * choicesOf(request) }
}

/** Of the prompts of attempts that mend an answer; how long what they mend is nobody knows before. */
export function repairTokensMax({ verify }: GenerateRequest): number {
  return verify ? (verify.attempts - 1) * verify.repair_tokens_max : 0
}

export function promptTokensMax(parts: PromptPart[]): number {
  let count = 0
  for (const part of parts) {
    if ('chat' in part) return Number.POSITIVE_INFINITY // what its format adds only the node knows
    if ('infill' in part) count += utf8Bytes(part.infill.before + part.infill.after) + INFILL_SPECIALS
    else if ('judged' in part) count += utf8Bytes(part.judged.query + part.judged.answer) + JUDGED_FRAME
    else if ('tokens' in part) count += part.tokens.length
    else if ('text' in part) count += utf8Bytes(part.text) + 1
    else count += 1
  }
  return count
}

// Before, between and behind the two texts; with the piece more that each text may begin with.
const INFILL_SPECIALS = 3 + 2

// What the format of a model that judges has around the two texts; its node refuses where it should be more.
const JUDGED_FRAME = 64

const encoder = new TextEncoder()

function utf8Bytes(text: string): number {
  return encoder.encode(text).length
}
