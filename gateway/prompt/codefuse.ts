// CodeFuse-CodeLlama-34B (codefuse-ai/codefuse-evaluation, codefuseEval/processor): a heading for each speaker and nothing between them. It has
// no system message: its text stands where it stands.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat } from './template.ts'

const HEADINGS = {
  system: '',
  user: '<|role_start|>human<|role_end|>',
  assistant: '<|role_start|>bot<|role_end|>',
}

export function codefuse({ turns, is_continued }: Chat): PromptPart[] {
  const said = turns.map(({ role, text }) => HEADINGS[role] + text)
  return [{ text: [...said, ...(is_continued ? [] : [HEADINGS.assistant])].join('') }]
}
