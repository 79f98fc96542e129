// How a call of a tool is written as text: by the gateway in a conversation's history, and by a model in its answer, which its node
// holds to this and reads again. Both write the same bytes, so that a history is found in the cache of its answer.

export const CALL_BEGIN = '<tool_call>'
export const CALL_TAIL = '}</tool_call>'
/** What stands between a text and a call, and between two calls. */
export const CALL_SEPARATOR = '\n'

/** The arguments follow, a JSON object, and then the tail. */
export function callHead(name: string): string {
  return `${CALL_BEGIN}{"name": ${JSON.stringify(name)}, "arguments": `
}
