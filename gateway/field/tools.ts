// Tools that an answer may call, and which of them it must. Only the form is checked here; what of their parameters can be held the
// model's node says.

import * as z from 'zod'
import {
  CONSTRAINT_LENGTH_MAX,
  type Constraint,
  type TextConstraint,
  TOOLS_MAX,
  type ToolsConstraint,
} from '../../contract/internal/generation.ts'
import { text } from '../../contract/public/text.ts'
import { ApiError } from '../error.ts'
import { unusedIn } from './unused.ts'

export const toolName = z.string().regex(/^[\w-]{1,64}$/, 'expected up to 64 letters, digits, _ and -')

const called = z.looseObject({
  name: toolName,
  description: text.nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(), // arguments follow their schema in any case
})

const tool = z.looseObject({ type: z.literal('function'), function: called })

/** Tools of either form, as many and as long as a node takes them. */
export function toolList<T extends z.ZodType>(tool: T, nameOf: (tool: z.infer<T>) => string) {
  return z
    .array(tool)
    .max(TOOLS_MAX)
    .refine((value) => JSON.stringify(value).length <= CONSTRAINT_LENGTH_MAX, {
      error: `expected at most ${CONSTRAINT_LENGTH_MAX} characters`,
    })
    .refine((value) => new Set(value.map(nameOf)).size === value.length, { error: 'expected each name once' })
}

const named = z.object({ type: z.literal('function'), function: z.object({ name: z.string() }) })

const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    named,
    z.object({
      type: z.literal('allowed_tools'),
      allowed_tools: z.object({ mode: z.enum(['auto', 'required']), tools: z.array(named).min(1) }),
    }),
  ],
  { error: "expected 'none', 'auto', 'required', a function, or allowed_tools" },
)

export const toolFields = {
  tools: toolList(tool, (each) => each.function.name).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
}

export type ToolFields = z.infer<z.ZodObject<typeof toolFields>>

/** Those that are told to the model: none where it may call none. */
export function toolsTold({ tools, tool_choice }: ToolFields) {
  return tool_choice === 'none' ? [] : (tools ?? []).map((tool) => tool.function)
}

/** Calls of tools, or what the text is to be; null where it may be any. */
export function answerConstraint(fields: ToolFields, text: TextConstraint | null): Constraint | null {
  const tools = toolsConstraint(fields)
  return tools && text ? { ...tools, text } : (tools ?? text)
}

/** Null where none may be called. */
function toolsConstraint(fields: ToolFields): ToolsConstraint | null {
  const told = toolsTold(fields)
  const { calls, names, is_one } = choiceOf(fields.tool_choice ?? 'auto')
  const unknown = names?.find((name) => !told.some((tool) => tool.name === name))
  if (unknown !== undefined || (calls === 'required' && told.length === 0))
    throw new ApiError('invalid_value', {
      param: 'tool_choice',
      message: "'tool_choice' names or needs a tool that is not among 'tools'.",
    })
  if (told.length === 0) return null
  return {
    kind: 'tools',
    tools: told
      .filter(({ name }) => names === null || names.includes(name))
      .map(({ name, parameters = null }) => ({ name, parameters })),
    calls,
    is_parallel: !is_one && (fields.parallel_tool_calls ?? true),
  }
}

interface Choice {
  calls: ToolsConstraint['calls']
  names: string[] | null // null where all may be called
  is_one: boolean // once
}

function choiceOf(choice: z.infer<typeof toolChoice>): Choice {
  if (typeof choice === 'string')
    return { calls: choice === 'required' ? 'required' : 'allowed', names: null, is_one: false }
  if (choice.type === 'function') return { calls: 'required', names: [choice.function.name], is_one: true }
  const { mode, tools } = choice.allowed_tools
  return { calls: mode === 'required' ? 'required' : 'allowed', names: namesOf(tools), is_one: false }
}

function namesOf(tools: readonly { function: { name: string } }[]): string[] {
  return tools.map((tool) => tool.function.name)
}

/** The names of what was given and goes for nothing; without tools, what only goes with them. */
export function unusedOfTools({ tools, ...given }: Partial<ToolFields>): string[] {
  if (!tools?.length) return (['tool_choice', 'parallel_tool_calls'] as const).filter((name) => given[name] != null)
  return tools.flatMap((each, at) => [
    ...unusedIn(each, tool, `tools[${at}].`),
    ...unusedIn(each.function, called, `tools[${at}].function.`),
  ])
}
