// WizardCoder-Python-34B-V1.0 and WizardCoder-15B-V1.0 (nlpxucan/WizardLM): the Alpaca form. A system text that a chat begins with takes the place of the form's
// first sentence; a later one is a paragraph where it stands.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

const DEFAULT_SYSTEM: Turn = {
  role: 'system',
  text: 'Below is an instruction that describes a task. Write a response that appropriately completes the request.',
}
const HEADINGS = { system: '', user: '### Instruction:\n', assistant: '### Response:' }

export function wizardcoder({ turns, is_continued }: Chat): PromptPart[] {
  const all = turns[0]?.role === 'system' ? turns : [DEFAULT_SYSTEM, ...turns]
  const sections = all.map(({ role, text }) => HEADINGS[role] + text)
  return [{ text: [...sections, ...(is_continued ? [] : [HEADINGS.assistant])].join('\n\n') }]
}
