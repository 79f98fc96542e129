// Base models such as CodeLlama-34b have no format: a chat is continued as one text, turn after turn, whoever speaks.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat } from './template.ts'

export function plain({ turns }: Chat): PromptPart[] {
  return [{ text: turns.map((turn) => turn.text).join('\n') }]
}
