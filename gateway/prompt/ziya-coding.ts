// Ziya-Coding-34B-v1.0, as its card gives it: "<human>: \n{prompt}\n<bot>: \n", the spaces before the line ends included.
// "<human>" and "<bot>" are no pieces of its vocabulary, so all of it is text.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

export function ziyaCoding({ system, turns }: Chat): PromptPart[] {
  const lines = [...(system ? [system] : []), ...turns.map(line)]
  return [{ text: `${lines.join('\n')}\n` }]
}

function line(turn: Turn): string {
  return turn.role === 'user' ? `<human>: \n${turn.text}\n<bot>: ` : turn.text
}
