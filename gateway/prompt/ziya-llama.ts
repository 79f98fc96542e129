// Ziya-LLaMA-13B-v1 and v1.1 (Fengshenbang-LM, ziya_inference): "<human>:{query}\n<bot>:". Unlike in Ziya-Coding there is no
// space, and "<human>" and "<bot>" are added special tokens. A system text is a line of its own where it stands.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

const BOT: PromptPart[] = [{ special: '<bot>' }, { text: ':' }]

export function ziyaLlama({ turns, is_continued }: Chat): PromptPart[] {
  const last = is_continued ? turns.at(-1)! : null
  const whole = is_continued ? turns.slice(0, -1) : turns
  return [...whole.flatMap(parts), ...BOT, ...(last?.text ? [{ text: last.text }] : [])]
}

function parts({ role, text }: Turn): PromptPart[] {
  if (role === 'user') return [{ special: '<human>' }, { text: `:${text}\n` }]
  return [...(role === 'assistant' ? BOT : []), { text: `${text}\n` }]
}
