// The tokenizer of the model behind an address, where the node has its files. With it prompts are counted exactly and sent as ids, so
// that nothing a caller writes becomes a special token there.

import type { PlainPart } from '../../../contract/internal/generation.ts'
import type { Truncation } from '../../../contract/internal/question.ts'

export interface Vocabulary {
  /** As `Runner.encode`; a chat is not among them. */
  encode(prompts: PlainPart[][], truncated: Truncation, sequence_tokens_max: number): number[][]
  decode(tokens: readonly number[]): { text: string; pieces: string[] }
  /** How many tokens a text is. */
  count(text: string): number
}
