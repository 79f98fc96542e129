// Phind-CodeLlama-34B-v2, as its card gives it: headings for system, user and assistant, and a default system prompt.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

const DEFAULT_SYSTEM = 'You are an intelligent programming assistant.'

export function phind({ system, turns }: Chat): PromptPart[] {
  const head = `### System Prompt\n${system || DEFAULT_SYSTEM}\n\n`
  return [{ text: `${head}${turns.map(section).join('')}### Assistant\n` }]
}

function section({ role, text }: Turn): string {
  return `### ${role === 'user' ? 'User Message' : 'Assistant'}\n${text}\n\n`
}
