// How tools, their calls and their results are written, as text, whatever the template: none of the models of the catalog has pieces for
// them.

import { CALL_SEPARATOR, CALL_TAIL, callHead } from '../../contract/internal/tool-call.ts'
import type { Turn } from './template.ts'

interface Told {
  name: string
  description?: string | null | undefined
  parameters?: object | null | undefined
}

/** The turns with the tools told, behind a first system message. */
export function tellTools(turns: readonly Turn[], tools: readonly Told[]): Turn[] {
  if (tools.length === 0) return [...turns]
  return turns.toSpliced(turns[0]!.role === 'system' ? 1 : 0, 0, { role: 'system', text: toolsText(tools) })
}

function toolsText(tools: readonly Told[]): string {
  const lines = tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters }))
  return [
    'You may call these functions, each given with the JSON schema of its arguments:',
    ...lines,
    'A call is a line of this form, with nothing behind it but further calls:',
    `${callHead('NAME')}{...}${CALL_TAIL}`,
  ].join('\n')
}

/** What was said, called and answered in one turn, in its order. */
export function turnText(said: readonly string[]): string {
  return said.filter((text) => text !== '').join(CALL_SEPARATOR)
}

export function callText(call: { name: string; arguments: string }): string {
  return callHead(call.name) + (call.arguments || '{}') + CALL_TAIL
}

export function resultText(name: string, result: string, { is_error = false } = {}): string {
  return `<tool_response name="${name}"${is_error ? ' error="true"' : ''}>\n${result}\n</tool_response>`
}
