// Ziya-LLaMA-13B-v1 and v1.1 (Fengshenbang-LM, ziya_inference): "<human>:{query}\n<bot>:". Unlike in Ziya-Coding there is no
// space, and "<human>" and "<bot>" are added special tokens.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

export function ziyaLlama({ system, turns }: Chat): PromptPart[] {
  return [...(system ? [{ text: `${system}\n` }] : []), ...turns.flatMap(parts)]
}

function parts(turn: Turn): PromptPart[] {
  return turn.role === 'user'
    ? [{ special: '<human>' }, { text: `:${turn.text}\n` }, { special: '<bot>' }, { text: ':' }]
    : [{ text: `${turn.text}\n` }]
}
