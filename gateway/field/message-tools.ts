// Anthropic's form of tools and of the choice among them, put into that of a chat.

import * as z from 'zod'
import { text } from '../../contract/public/text.ts'
import { type ToolFields, toolList, toolName } from './tools.ts'
import { unsupported, unusedIn } from './unused.ts'

const tool = z.looseObject({
  type: unsupported('custom'), // tools that Anthropic defines have a type of their own, and no schema
  name: toolName,
  description: text.nullish(),
  input_schema: z.record(z.string(), z.unknown()),
  strict: z.boolean().nullish(), // arguments follow their schema in any case
  eager_input_streaming: z.boolean().nullish(), // they are streamed as they come
})

const is_one = { disable_parallel_tool_use: z.boolean().nullish() }

const toolChoice = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('auto'), ...is_one }),
    z.object({ type: z.literal('any'), ...is_one }),
    z.object({ type: z.literal('tool'), name: z.string(), ...is_one }),
    z.object({ type: z.literal('none') }),
  ],
  { error: "expected a 'type' of auto, any, tool or none" },
)

export const messageToolFields = {
  tools: toolList(tool, ({ name }) => name).nullish(),
  tool_choice: toolChoice.nullish(),
}

type MessageTools = z.infer<z.ZodObject<typeof messageToolFields>>

export function chatTools({ tools, tool_choice: choice }: MessageTools): ToolFields {
  return {
    tools: tools?.map(({ name, description, input_schema: parameters }) => ({
      type: 'function' as const,
      function: { name, description, parameters },
    })),
    tool_choice: choice && choiceOf(choice),
    parallel_tool_calls: choice && choice.type !== 'none' ? !choice.disable_parallel_tool_use : null,
  }
}

function choiceOf(choice: z.infer<typeof toolChoice>): ToolFields['tool_choice'] {
  if (choice.type === 'any') return 'required'
  return choice.type === 'tool' ? { type: 'function', function: { name: choice.name } } : choice.type
}

/** The names of what was given and goes for nothing; without tools, the choice among them. */
export function unusedOfMessageTools({ tools, tool_choice }: Partial<MessageTools>): string[] {
  if (!tools?.length) return tool_choice == null ? [] : ['tool_choice']
  return tools.flatMap((each, at) => unusedIn(each, tool, `tools[${at}].`))
}
