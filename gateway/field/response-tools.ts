// The Responses API's form of tools, of the choice among them, and of what the text is to be, put into that of a chat.

import * as z from 'zod'
import type { TextConstraint } from '../../contract/internal/generation.ts'
import type { ResponseAsked } from '../../contract/public/responses.ts'
import { text } from '../../contract/public/text.ts'
import { namedSchema, responseFormat, textConstraint } from './response-format.ts'
import { type ToolFields, toolList, toolName } from './tools.ts'
import { askingNothing, hint, ofTypes, unusedIn } from './unused.ts'

const tool = z.looseObject({
  type: z.literal('function'),
  name: toolName,
  description: text.nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(), // arguments follow their schema in any case
})

const named = z.object({ type: z.literal('function'), name: z.string() })

const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    named,
    z.object({ type: z.literal('allowed_tools'), mode: z.enum(['auto', 'required']), tools: z.array(named).min(1) }),
  ],
  { error: ({ input }) => (typeOf(input) in CHOICES ? CHOICE_SAYS : `no ${typeOf(input)}`) },
)

const CHOICES = { string: 1, function: 1, allowed_tools: 1, undefined: 1 }
const CHOICE_SAYS = "expected 'none', 'auto', 'required', a function, or allowed_tools"

function typeOf(value: unknown): string {
  return typeof value === 'string' ? 'string' : String((value as { type?: unknown } | null)?.type)
}

export const responseToolFields = {
  tools: toolList(z.discriminatedUnion('type', [tool], ofTypes('a tool')), ({ name }) => name).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
}

type ResponseTools = z.infer<z.ZodObject<typeof responseToolFields>>

export function chatTools({ tools, tool_choice: choice, parallel_tool_calls }: ResponseTools): ToolFields {
  return {
    tools: tools?.map(({ name, description, parameters }) => ({
      type: 'function' as const,
      function: { name, description, parameters },
    })),
    tool_choice: choice && choiceOf(choice),
    parallel_tool_calls,
  }
}

function choiceOf(choice: z.infer<typeof toolChoice>): ToolFields['tool_choice'] {
  if (typeof choice === 'string') return choice
  const inner = ({ name }: { name: string }) => ({ type: 'function' as const, function: { name } })
  if (choice.type === 'function') return inner(choice)
  return { type: 'allowed_tools', allowed_tools: { mode: choice.mode, tools: choice.tools.map(inner) } }
}

/** As a response says them again. */
export function toldTools(given: ResponseTools): Pick<ResponseAsked, 'tools' | 'tool_choice' | 'parallel_tool_calls'> {
  return {
    tools: (given.tools ?? []).map(({ type, name, description = null, parameters = null, strict }) => ({
      type,
      name,
      description,
      parameters,
      strict: strict ?? true,
    })),
    tool_choice: given.tool_choice ?? 'auto',
    parallel_tool_calls: given.parallel_tool_calls ?? true,
  }
}

/** The names of what was given and goes for nothing; without tools, what only goes with them. */
export function unusedOfResponseTools({ tools, ...given }: Partial<ResponseTools>): string[] {
  if (!tools?.length) return (['tool_choice', 'parallel_tool_calls'] as const).filter((name) => given[name] != null)
  return tools.flatMap((each, at) => unusedIn(each, tool, `tools[${at}].`))
}

const [ofText, ofObject, , ofRegex, ofGrammar] = responseFormat.options

const textFormat = z.discriminatedUnion(
  'type',
  [ofText, ofObject, namedSchema.extend({ type: z.literal('json_schema') }), ofRegex, ofGrammar],
  { error: "expected a 'type' of text, json_object, json_schema, regex or grammar" },
)

export const responseText = z
  .object({ format: textFormat.nullish(), verbosity: hint('medium') })
  .catchall(askingNothing())

type ResponseText = z.infer<typeof responseText> | null | undefined

/** What the text is held to; null where it may be any. */
export function responseConstraint(text: ResponseText): TextConstraint | null {
  const format = text?.format
  if (format?.type !== 'json_schema') return textConstraint(format)
  const { type, ...json_schema } = format
  return textConstraint({ type, json_schema })
}

/** As a response says it again. */
export function toldText(text: ResponseText): ResponseAsked['text'] {
  const format = text?.format ?? { type: 'text' as const }
  if (format.type !== 'json_schema') return { format }
  const { type, name, description = null, schema, strict } = format
  return { format: { type, name, description, schema: schema ?? {}, strict: strict ?? true } }
}
