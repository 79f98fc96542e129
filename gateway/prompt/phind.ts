// Phind-CodeLlama-34B-v2, as its card gives it: headings for system, user and assistant, and a default system prompt where a chat does
// not begin with one. A later system message is written under its heading where it stands.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

const DEFAULT_SYSTEM: Turn = { role: 'system', text: 'You are an intelligent programming assistant.' }
const HEADINGS = { system: 'System Prompt', user: 'User Message', assistant: 'Assistant' }

export function phind({ turns, is_continued }: Chat): PromptPart[] {
  const all = turns[0]?.role === 'system' ? turns : [DEFAULT_SYSTEM, ...turns]
  const sections = all.map(({ role, text }) => `### ${HEADINGS[role]}\n${text}`)
  return [{ text: [...sections, ...(is_continued ? [] : ['### Assistant\n'])].join('\n\n') }]
}
