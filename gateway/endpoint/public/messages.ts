// POST /v1/messages: Anthropic's form of a conversation, put into the model's own template as a chat is.

import * as z from 'zod'
import { STOPS_MAX, type TextConstraint } from '../../../contract/internal/generation.ts'
import { message as answer, messageError, messageEvent, messageTokens } from '../../../contract/public/messages.ts'
import { text } from '../../../contract/public/text.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { generationFields, metadataOf, metadataValue, stopText } from '../../field/generation.ts'
import { chatTools, messageToolFields, unusedOfMessageTools } from '../../field/message-tools.ts'
import { bodyOf, readBody } from '../../field/read-body.ts'
import { answerSchema } from '../../field/response-format.ts'
import { answerConstraint, toolName, toolsTold } from '../../field/tools.ts'
import { askingNothing, hint, hintWhere, ofTypes, unsupported, unusedHeader, unusedIn } from '../../field/unused.ts'
import { askModel, modelOf } from '../../generate/ask-model.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { type Chat, chatPrompt, type Turn, turnsOf } from '../../prompt/template.ts'
import { callText, resultText, tellTools, turnText } from '../../prompt/tools.ts'

const typeOf = (value: unknown) => (value as { type?: unknown } | null)?.type

const MESSAGES_MAX = 256
const CALL_ID_LENGTH_MAX = 200

const textBlock = z.looseObject({ type: z.literal('text'), text })

/** Blocks, or a string in the place of one of text. */
function blocksOf<B extends z.ZodType>(block: B) {
  return z
    .preprocess((value) => (typeof value === 'string' ? [{ type: 'text', text: value }] : value), z.array(block))
    .meta({ type: ['string', 'array'] })
}

const texts = blocksOf(z.discriminatedUnion('type', [textBlock], ofTypes('a block')))

const toolUse = z.looseObject({
  type: z.literal('tool_use'),
  id: z.string().min(1).max(CALL_ID_LENGTH_MAX),
  name: toolName,
  input: z.record(z.string(), z.unknown()),
})

const toolResult = z.looseObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string(),
  content: texts.nullish(),
  is_error: z.boolean().nullish(),
})

// What a model thought elsewhere may come back. No template writes it, so it is taken and named as not used.
const thought = z.looseObject({ type: z.enum(['thinking', 'redacted_thinking']) })

const block = z.discriminatedUnion('type', [textBlock, toolUse, toolResult, thought], ofTypes('a block'))
type Block = z.infer<typeof block>

const message = z.looseObject({ role: z.enum(['user', 'assistant', 'system']), content: blocksOf(block) })
type Message = z.infer<typeof message>

const SPEAKER: Partial<Record<Block['type'], Message['role']>> = { tool_use: 'assistant', tool_result: 'user' }

/** Calls are the assistant's, and results the user's, each after its call. */
const messages = z
  .array(message)
  .min(1)
  .max(MESSAGES_MAX)
  .superRefine((all, { addIssue }) => {
    const called = new Set<string>()
    const refuse = (path: PropertyKey[], message: string) => addIssue({ code: 'custom', path, message })
    for (const [at, { role, content }] of all.entries())
      for (const [place, block] of content.entries()) {
        const path = [at, 'content', place]
        const speaker = SPEAKER[block.type] ?? role
        if (speaker !== role) refuse([...path, 'type'], `expected ${block.type} in messages of the ${speaker} alone`)
        if (block.type === 'tool_use') called.add(block.id)
        if (block.type === 'tool_result' && !called.has(block.tool_use_id))
          refuse([...path, 'tool_use_id'], 'expected the id of a tool_use in an earlier message')
      }
  })

/** Whether nothing is cut from the conversation but thoughts, which no template writes. */
function keepsContext(value: unknown): boolean {
  const { edits, ...rest } = Object(value) as { edits?: unknown }
  const all = edits ?? []
  const clears = (edit: unknown) => String(typeOf(edit)).startsWith('clear_thinking_')
  return Array.isArray(all) && all.every(clears) && Object.keys(rest).length === 0
}

const format = z.strictObject({ type: z.literal('json_schema'), schema: answerSchema })

/** What counts as input. */
const conversation = {
  model: generationFields.model,
  messages,
  system: texts.nullish(),
  ...messageToolFields,
  // A model that does not think has nothing to think of.
  thinking: hintWhere((value) => typeOf(value) === 'disabled' || typeOf(value) === 'adaptive'),
  cache_control: hint(),
  output_config: z.object({ effort: hint(), format: format.nullish() }).catchall(askingNothing()).nullish(),
  output_format: format.nullish(), // its name before
  thread: z
    .unknown()
    .refine((value) => value == null, { params: { code: 'thread_unsupported_request' } })
    .describe('Not supported: conversations are not kept.')
    .optional(),
  compaction: unsupported(),
  speed: hint('standard'),
  user_profile_id: hint(),
  workspace_id: hint(),
}

const body = z
  .object({
    ...conversation,
    max_tokens: z.int().min(1),
    stop_sequences: z.array(stopText).max(STOPS_MAX).nullish(),
    stream: generationFields.stream,
    temperature: generationFields.temperature,
    top_p: generationFields.top_p,
    top_k: generationFields.top_k,
    deadline_ms: generationFields.deadline_ms,
    billing_policy: unsupported(),
    container: unsupported(),
    context_management: hintWhere(keepsContext),
    diagnostics: hint(),
    fallback_credit_token: unsupported(),
    fallbacks: unsupported([]),
    inference_geo: unsupported(),
    mcp_servers: unsupported([]),
    metadata: metadataOf(metadataValue.nullable()).transform(withoutNulls).nullish(),
    service_tier: hint('auto', 'standard_only'),
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>

/** Anthropic's `user_id` may be null. */
function withoutNulls(pairs: Record<string, string | null>): Record<string, string> {
  return Object.fromEntries(Object.entries(pairs).flatMap(([name, value]) => (value === null ? [] : [[name, value]])))
}

export const messageForm: GenerationForm<Body> = {
  schema: body,
  format: ({ stop_sequences: stop, service_tier: _, ...fields }, own) =>
    generateRequest(
      { ...fields, stop },
      {
        ...own,
        shape: 'message',
        prompts: [chatPrompt(own.model.template, chatOf(fields))],
        logprobs: null,
        constraint: answerConstraint(chatTools(fields), formatOf(fields)),
      },
    ),
  unused: (given) => unusedOf(given as Given),
}

export const createMessage = endpoint(
  {
    says: 'Answers a conversation, in Anthropic’s form.',
    example: {
      model: 'ziya-coding-mini',
      max_tokens: 64,
      stream: true,
      messages: [{ role: 'user', content: 'Sort a list.' }],
    },
    body,
    answer,
    also: { 'text/event-stream': messageEvent },
    error: messageError,
  },
  (c, caller: Caller) => {
    checkVersion(c)
    return generate(c, caller, messageForm)
  },
)

const counting = z.object(conversation).catchall(askingNothing())

export const countMessageTokens = endpoint(
  {
    says: 'Counts the tokens of a conversation, in Anthropic’s form.',
    body: counting,
    answer: messageTokens,
    error: messageError,
  },
  async (c, caller: Caller) => {
    checkVersion(c)
    const fields = await readBody(c, counting)
    const { model, named } = await modelOf(c, caller, fields.model)
    c.set('headers', unusedHeader(unusedOf((await bodyOf(c)).json() as Given)))
    const prompts = [chatPrompt(model.template, chatOf(fields))]
    const {
      prompts: [counted],
    } = await askModel(c, caller, named, { prompts, with_ids: false })
    return c.json({ input_tokens: counted!.count })
  },
)

const VERSIONS = ['2023-06-01', '2026-10-21']

// Its clients name the version of the form that they read. What these two have in common is all that is written here.
function checkVersion(c: Call): void {
  const version = c.req.header('anthropic-version')
  if (version === undefined || VERSIONS.includes(version)) return
  throw new ApiError('invalid_value', {
    param: 'anthropic-version',
    message: `anthropic-version is one of ${VERSIONS.join(', ')}.`,
  })
}

function formatOf({ output_config, output_format }: Body): TextConstraint | null {
  const format = output_config?.format ?? output_format
  return format ? { kind: 'json_schema', schema: format.schema } : null
}

type Conversation = Pick<Body, 'system' | 'messages' | 'tools' | 'tool_choice'>

/** A last word of the assistant is continued; after a call it begins anew. */
function chatOf({ system, messages, ...tools }: Conversation): Chat {
  const instructions: Turn[] = system ? [{ role: 'system', text: textOf(system) }] : []
  const turns = tellTools([...instructions, ...messageTurns(messages)], toolsTold(chatTools(tools)))
  const last = messages.at(-1)!
  return { turns: turnsOf(turns), is_continued: last.role === 'assistant' && last.content.at(-1)?.type !== 'tool_use' }
}

function messageTurns(messages: readonly Message[]): Turn[] {
  const names = new Map<string, string>() // of what was called, by the ids
  return messages.map(({ role, content }) => {
    const said: string[] = []
    for (const [at, block] of content.entries()) {
      if (block.type === 'text' && content[at - 1]?.type === 'text') said.push(said.pop()! + block.text)
      else said.push(saidBy(block, names))
    }
    return { role, text: turnText(said) }
  })
}

function saidBy(block: Block, names: Map<string, string>): string {
  switch (block.type) {
    case 'text':
      return block.text
    case 'tool_use':
      names.set(block.id, block.name)
      return callText({ name: block.name, arguments: JSON.stringify(block.input) })
    case 'tool_result':
      return resultText(names.get(block.tool_use_id)!, textOf(block.content ?? []), {
        is_error: block.is_error ?? false,
      })
    default:
      return ''
  }
}

function textOf(blocks: readonly z.infer<typeof textBlock>[]): string {
  return blocks.map(({ text }) => text).join('')
}

interface Given extends Partial<Pick<Body, 'tools' | 'tool_choice'>> {
  system?: unknown
  output_config?: object | null
  messages: { content: unknown }[]
}

/** What no template writes: fields of the body, of its messages, of their blocks, and whole blocks. */
function unusedOf(given: Given): string[] {
  const ofMessages = given.messages.flatMap((one, at) => [
    ...unusedIn(one, message, `messages[${at}].`),
    ...unusedBlocks(one.content, `messages[${at}].content`),
  ])
  return [
    ...unusedIn(given, body),
    ...unusedIn(given.output_config ?? {}, body.shape.output_config.unwrap().unwrap(), 'output_config.'),
    ...unusedBlocks(given.system, 'system'),
    ...unusedOfMessageTools(given),
    ...ofMessages,
  ]
}

function unusedBlocks(given: unknown, at: string): string[] {
  if (!Array.isArray(given)) return []
  return given.flatMap((one: Block, place) => unusedOfBlock(one, `${at}[${place}]`))
}

function unusedOfBlock(given: Block, at: string): string[] {
  switch (given.type) {
    case 'text':
      return unusedIn(given, textBlock, `${at}.`)
    case 'tool_use':
      return unusedIn(given, toolUse, `${at}.`)
    case 'tool_result':
      return [...unusedIn(given, toolResult, `${at}.`), ...unusedBlocks(given.content, `${at}.content`)]
    default:
      return [at]
  }
}
