// Ziya-Coding-34B-v1.0, as its card gives it: "<human>: \n{prompt}\n<bot>: \n", the spaces before the line ends included.
// "<human>" and "<bot>" are no pieces of its vocabulary, so all of it is text. The card has no system message: its text is a line of its
// own where it stands.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat } from './template.ts'

const HEADINGS = { system: '', user: '<human>: \n', assistant: '<bot>: \n' }

export function ziyaCoding({ turns, is_continued }: Chat): PromptPart[] {
  const lines = turns.map(({ role, text }) => HEADINGS[role] + text)
  return [{ text: [...lines, ...(is_continued ? [] : [HEADINGS.assistant])].join('\n') }]
}
