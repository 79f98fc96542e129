// POST /v1/messages: Anthropic's form of a conversation, put into the model's own template as a chat is.

import * as z from 'zod'
import { STOPS_MAX } from '../../../contract/internal/generation.ts'
import { message as answer, messageError, messageEvent, messageTokens } from '../../../contract/public/messages.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { generationFields, stopText } from '../../field/generation.ts'
import { bodyOf, readBody } from '../../field/read-body.ts'
import { text } from '../../field/text.ts'
import { askingNothing, hint, hintWhere, unsupported, unusedHeader, unusedIn } from '../../field/unused.ts'
import { askModel, modelOf } from '../../generate/ask-model.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { type Chat, chatPrompt, turnsOf } from '../../prompt/template.ts'

const MESSAGES_MAX = 256

// What a model thought elsewhere may come back. No template writes it, so it is taken and named as not used.
const THOUGHTS = ['thinking', 'redacted_thinking']

const textBlock = z.looseObject({ type: z.literal('text'), text })

const block = z.looseObject({ type: z.string(), text: text.optional() }).superRefine(({ type, text }, { addIssue }) => {
  if (type === 'text' && text === undefined)
    addIssue({ code: 'custom', path: ['text'], params: { code: 'invalid_type' }, message: 'expected text' })
  if (type !== 'text' && !THOUGHTS.includes(type))
    addIssue({ code: 'custom', path: ['type'], params: { code: 'unsupported_parameter' }, message: `no ${type}` })
})
type Block = z.infer<typeof block>

/** Blocks, or a string in the place of one of text. */
function blocksOf<B extends z.ZodType<Block>>(block: B) {
  return z
    .preprocess((value) => (typeof value === 'string' ? [{ type: 'text', text: value }] : value), z.array(block))
    .meta({ type: ['string', 'array'] })
}

const message = z.looseObject({ role: z.enum(['user', 'assistant', 'system']), content: blocksOf(block) })

const typeOf = (value: unknown) => (value as { type?: unknown } | null)?.type

/** What counts as input. */
const conversation = {
  model: generationFields.model,
  messages: z.array(message).min(1).max(MESSAGES_MAX),
  system: blocksOf(textBlock).nullish(),
  tools: unsupported([]),
  tool_choice: hintWhere((value) => typeOf(value) === 'auto' || typeOf(value) === 'none'),
  // A model that does not think has nothing to think of.
  thinking: hintWhere((value) => typeOf(value) === 'disabled' || typeOf(value) === 'adaptive'),
  cache_control: hint(),
  output_config: z.object({ effort: hint(), format: unsupported() }).catchall(askingNothing()).nullish(),
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
    container: unsupported(),
    context_management: unsupported({ edits: [] }),
    diagnostics: hint(),
    inference_geo: unsupported(),
    mcp_servers: unsupported([]),
    metadata: hint(),
    service_tier: hint('auto', 'standard_only'),
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>

export const messageForm: GenerationForm<Body> = {
  schema: body,
  format: ({ stop_sequences: stop, ...fields }, own) =>
    generateRequest(
      { ...fields, stop },
      {
        ...own,
        shape: 'message',
        prompts: [chatPrompt(own.model.template, chatOf(fields))],
        logprobs: null,
      },
    ),
  unused: (given) => unusedOf(given as Given),
}

export const createMessage = endpoint(
  {
    says: 'Answers a conversation, in Anthropic’s form.',
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
    const { id, template } = modelOf(c, fields.model)
    c.set('headers', unusedHeader(unusedOf((await bodyOf(c)).json() as Given)))
    const prompts = [chatPrompt(template, chatOf(fields))]
    const {
      prompts: [counted],
    } = await askModel(c, caller, id, { prompts, with_ids: false })
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

/** A last word of the assistant is continued. */
function chatOf({ system, messages }: Pick<Body, 'system' | 'messages'>): Chat {
  const instructions = system ? [{ role: 'system' as const, text: textOf(system) }] : []
  const turns = turnsOf([...instructions, ...messages.map(({ role, content }) => ({ role, text: textOf(content) }))])
  return { turns, is_continued: turns.at(-1)!.role === 'assistant' }
}

function textOf(blocks: Block[]): string {
  return blocks.map(({ type, text }) => (type === 'text' ? text : '')).join('')
}

interface Given {
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
    ...ofMessages,
  ]
}

function unusedBlocks(given: unknown, at: string): string[] {
  if (!Array.isArray(given)) return []
  return given.flatMap((one: Block, place) =>
    one.type === 'text' ? unusedIn(one, textBlock, `${at}[${place}].`) : [`${at}[${place}]`],
  )
}
