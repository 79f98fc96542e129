// How tools, their calls and their results are written, as text, whatever the template: none of the models of the catalog has pieces for
// them.

import { CALL_SEPARATOR, CALL_TAIL, callHead } from '../../contract/internal/tool-call.ts'

interface Told {
  name: string
  description?: string | null | undefined
  parameters?: object | null | undefined
}

export function toolsText(tools: readonly Told[]): string {
  const lines = tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters }))
  return [
    'You may call these functions, each given with the JSON schema of its arguments:',
    ...lines,
    'A call is a line of this form, with nothing behind it but further calls:',
    `${callHead('NAME')}{...}${CALL_TAIL}`,
  ].join('\n')
}

/** What an assistant said, and then called. */
export function callsText(text: string, calls: readonly { name: string; arguments: string }[]): string {
  const lines = calls.map((call) => callHead(call.name) + (call.arguments || '{}') + CALL_TAIL)
  return [...(text === '' ? [] : [text]), ...lines].join(CALL_SEPARATOR)
}

export function resultText(name: string, result: string): string {
  return `<tool_response name="${name}">\n${result}\n</tool_response>`
}
