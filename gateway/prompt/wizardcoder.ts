// WizardCoder-Python-34B-V1.0 (nlpxucan/WizardLM): the Alpaca form. A system text takes the place of its first sentence.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { Chat, Turn } from './template.ts'

const DEFAULT_SYSTEM =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.'

export function wizardcoder({ system, turns }: Chat): PromptPart[] {
  return [{ text: `${system || DEFAULT_SYSTEM}${turns.map(section).join('')}` }]
}

function section({ role, text }: Turn): string {
  return role === 'user' ? `\n\n### Instruction:\n${text}\n\n### Response:` : text
}
