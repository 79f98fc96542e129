// A template turns the turns of a chat into typed parts. What a caller wrote only ever becomes `text`, so no spelling of a
// special token can become one. A new format is a new file here, a line below, and its name in contract/public/catalog.ts.

import type { PromptPart } from '../../contract/internal/generation.ts'
import type { TemplateName } from '../../contract/public/catalog.ts'
import { codefuse } from './codefuse.ts'
import { phind } from './phind.ts'
import { plain } from './plain.ts'
import { wizardcoder } from './wizardcoder.ts'
import { ziyaCoding } from './ziya-coding.ts'
import { ziyaLlama } from './ziya-llama.ts'

export interface Turn {
  role: 'system' | 'user' | 'assistant'
  text: string
}

/** Turns in the order they were given, of which no two neighbours have one role; at least one. */
export interface Chat {
  turns: Turn[]
  /** The last turn is the assistant's and is left open: the model goes on with it. Else it begins an answer. */
  is_continued: boolean
}

/** Neighbours of one role become one turn. */
export function turnsOf(said: readonly Turn[]): Turn[] {
  const turns: Turn[] = []
  for (const { role, text } of said) {
    const last = turns.at(-1)
    if (last?.role === role) last.text += `\n${text}`
    else turns.push({ role, text })
  }
  return turns
}

/** What follows the beginning-of-sequence piece, where the format does not say it itself. */
export type Template = (chat: Chat) => PromptPart[]

// `folder` is the format of a model's own folder, which its node has.
const templates: Record<TemplateName, Template> = {
  'ziya-coding': ziyaCoding,
  'ziya-llama': ziyaLlama,
  plain,
  phind,
  wizardcoder,
  codefuse,
  folder: ({ turns, is_continued }) => [{ chat: turns, is_continued }],
}

// What a sequence begins with: LLaMA's own piece here, and to a node what its model has in that place, which may be nothing.
const BEGIN: PromptPart = { special: '<s>' }

export function chatPrompt(template: TemplateName, chat: Chat): PromptPart[] {
  const parts = templates[template](chat)
  return template === 'folder' ? parts : [BEGIN, ...parts]
}

/** A raw prompt: text is continued as it stands; token ids are taken exactly as given, the beginning included. */
export function rawPrompt(prompt: string | number[]): PromptPart[] {
  return typeof prompt === 'string' ? [BEGIN, { text: prompt }] : [{ tokens: prompt }]
}
