// POST /v1/responses: OpenAI's form of items, put into the model's own template as a chat is. It may go on from a response that is stored.

import * as z from 'zod'
import { LOGPROBS_MAX } from '../../../contract/internal/generation.ts'
import {
  response as answer,
  type ResponseInputItem,
  responseEvent,
  responseInputTokens,
} from '../../../contract/public/responses.ts'
import { text } from '../../../contract/public/text.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import type { Asking, Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { generationFields, serviceTierOf } from '../../field/generation.ts'
import { itemId, responseId } from '../../field/id.ts'
import { firstLacked, unusable } from '../../field/last-event-id.ts'
import { bodyOf, readBody } from '../../field/read-body.ts'
import { itemsOf, type ResponseInput, referencesIn, responseInput, unusedOfItems } from '../../field/response-items.ts'
import {
  chatTools,
  responseConstraint,
  responseText,
  responseToolFields,
  toldText,
  toldTools,
  unusedOfResponseTools,
} from '../../field/response-tools.ts'
import { answerConstraint, toolsTold } from '../../field/tools.ts'
import { askingNothing, hint, unsupported, unusedHeader, unusedIn } from '../../field/unused.ts'
import { askModel, modelOf } from '../../generate/ask-model.ts'
import { formatted, type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { type Chat, chatPrompt, type Turn, turnsOf } from '../../prompt/template.ts'
import { callText, resultText, tellTools } from '../../prompt/tools.ts'
import { createInBackground, type InBackground } from './background.ts'
import { storedResponses, storing, streamResponse } from './stored-responses.ts'

const LOGPROBS = 'message.output_text.logprobs'
// Of tools and of thoughts, which no answer here has.
const INCLUDED = z.enum([
  LOGPROBS,
  'reasoning.encrypted_content',
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'message.input_image.image_url',
  'computer_call_output.output.image_url',
  'code_interpreter_call.outputs',
])

/** What counts as input. */
const conversation = {
  model: generationFields.model,
  input: responseInput,
  instructions: text.nullish(),
  previous_response_id: z.string().max(200).nullish(),
  ...responseToolFields,
  text: responseText.nullish(),
  conversation: unsupported(),
  prompt: unsupported(),
  truncation: z.enum(['auto', 'disabled']).nullish(),
  reasoning: hint(), // a model that does not think has nothing to think of
}

// A response has one choice, and no ids of tokens.
const { n, max_tokens, return_token_ids, stream_options, store, ...fields } = generationFields

/** How long it may take to begin, in seconds; who can wait pays less. */
const WINDOWS = { soonest: 86_400, '2h': 7200, '8h': 28_800 } as const

const backgroundOptions = z
  .object({
    completion_window: z.enum(Object.keys(WINDOWS) as (keyof typeof WINDOWS)[]).nullish(),
    continuation_id: unsupported(),
  })
  .catchall(askingNothing())

const body = z
  .object({
    ...fields,
    ...conversation,
    max_output_tokens: max_tokens,
    store: z.boolean().nullish(),
    include: z.array(INCLUDED).nullish(),
    top_logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
    access_programs: unsupported(),
    background: z.boolean().nullish(),
    background_options: backgroundOptions.nullish(),
    context_management: unsupported([]),
    image: unsupported(),
    max_tool_calls: hint(), // of tools that OpenAI runs
    stream_options: z.object({ include_obfuscation: hint() }).catchall(askingNothing()).nullish(),
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>
type Conversation = z.infer<z.ZodObject<typeof conversation>>

export function responseForm(c: Asking, caller: Caller): GenerationForm<Body> & { input: () => ResponseInputItem[] } {
  let items: ResponseInputItem[] = []
  return {
    schema: body,
    format: async (fields, own) => {
      items = await itemsFor(c, caller, fields)
      return inOwnNames(() => requestOf(fields, own, items))
    },
    unused: (given) => unusedOf(given as Given),
    input: () => items,
    kept: (answer, { account_id, request: { request_id, asked } }) =>
      asked!.store ? storing(c, { account_id, request_id, input: items }, answer) : answer,
  }
}

export const createResponse = endpoint(
  {
    says: 'Answers items, or goes on from a response that is stored.',
    example: { model: 'ziya-coding-mini', max_output_tokens: 64, stream: true, input: 'Sort a list.' },
    body,
    answer,
    also: { 'text/event-stream': responseEvent },
  },
  (c, caller: Caller) =>
    inOwnNames(async () => {
      const form = responseForm(c, caller)
      const fields = (await bodyOf(c)).json() as Given | null
      if (fields?.background !== true) return generate(c, caller, form)
      return createInBackground(
        c,
        caller,
        () => inBackground(c, caller, form),
        (job_id) => streamResponse(c, caller, { job_id, first: 0 }),
      )
    }),
)

async function inBackground(c: Call, caller: Caller, form: ReturnType<typeof responseForm>): Promise<InBackground> {
  const given = await readBody(c, form.schema)
  if (firstLacked(c))
    throw unusable('A stream in the background is gone on with by GET /v1/responses/{id}?stream=true.')
  if (given.store === false)
    throw new ApiError('invalid_value', {
      param: 'store',
      message: "A response in the background is stored: 'store' cannot be false.",
    })
  c.set('headers', unusedHeader(form.unused((await bodyOf(c)).json())))
  const window = given.background_options?.completion_window ?? 'soonest'
  const asked = await formatted(c, caller, {
    form,
    fields: window === 'soonest' ? given : { ...given, service_tier: 'flex' },
  })
  return { asked, input: form.input(), window_s: WINDOWS[window] }
}

const counting = z.object({ ...conversation, personality: hint() }).catchall(askingNothing())

export const countInputTokens = endpoint(
  { says: 'Counts the tokens that a response would be made from.', body: counting, answer: responseInputTokens },
  async (c, caller: Caller) => {
    const fields = await readBody(c, counting)
    const { model, named } = await modelOf(c, caller, fields.model)
    c.set('headers', unusedHeader(unusedOf((await bodyOf(c)).json() as Given)))
    const prompts = [chatPrompt(model.template, chatOf(fields, await itemsFor(c, caller, fields)))]
    const {
      prompts: [counted],
    } = await askModel(c, caller, named, { prompts, with_ids: false })
    return c.json({ object: 'response.input_tokens', input_tokens: counted!.count })
  },
)

type Own = Parameters<GenerationForm<Body>['format']>[1]

function requestOf(fields: Body, own: Own, items: ResponseInputItem[]) {
  if (fields.background_options?.completion_window && !fields.background)
    throw new ApiError('invalid_value', {
      param: 'background_options',
      message: "'background_options' needs 'background': true.",
    })
  const { max_output_tokens: max_tokens, stream_options, top_logprobs, include, store, ...rest } = fields
  const logprobs = top_logprobs || include?.includes(LOGPROBS) ? (top_logprobs ?? 0) : null
  return generateRequest(
    { ...rest, max_tokens, ...(fields.truncation === 'auto' && { truncate_prompt_tokens: -1 }) },
    {
      ...own,
      shape: 'response',
      prompts: [chatPrompt(own.model.template, chatOf(fields, items))],
      logprobs,
      constraint: answerConstraint(chatTools(fields), responseConstraint(fields.text)),
      asked: {
        background: fields.background ?? false,
        instructions: fields.instructions ?? null,
        max_output_tokens: max_tokens == null || max_tokens === -1 ? null : max_tokens,
        max_tool_calls: null,
        metadata: fields.metadata ?? {},
        previous_response_id: fields.previous_response_id ?? null,
        reasoning: null,
        service_tier: serviceTierOf(fields) ?? 'default',
        store: store ?? true,
        text: toldText(fields.text),
        ...toldTools(fields),
        top_logprobs: logprobs ?? 0,
        truncation: fields.truncation ?? 'disabled',
        user: fields.user ?? null,
      },
    },
  )
}

/** What a chat calls otherwise. */
const OWN_NAMES: Record<string, string> = { max_tokens: 'max_output_tokens', response_format: 'text.format' }

async function inOwnNames<T>(make: () => T | Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    const name = error instanceof ApiError ? (error.detail.param ?? '') : ''
    const own = OWN_NAMES[name]
    if (!(error instanceof ApiError) || own === undefined || error.code === 'unknown_parameter') throw error
    const { message, ...detail } = error.detail
    throw new ApiError(error.code, {
      ...detail,
      param: own,
      ...(message !== undefined && { message: message.replaceAll(name, own) }),
    })
  }
}

/** All that a response is made from: what the one before it was, what it answered, and what is given now. */
async function itemsFor(c: Asking, caller: Caller, fields: Conversation): Promise<ResponseInputItem[]> {
  const earlier = fields.previous_response_id ? await itemsBefore(c, caller, fields.previous_response_id) : []
  const referred = await referredItems(c, caller, fields.input, earlier)
  return itemsOf(fields.input, { earlier, referred, request_id: c.get('request_id') })
}

async function itemsBefore(c: Asking, caller: Caller, id: string): Promise<ResponseInputItem[]> {
  const request_id = responseId.safeParse(id).data
  const stored = request_id && (await storedResponses(c, caller, [request_id], { with_input: true })).get(request_id)
  if (stored) return [...stored.input, ...stored.response.output]
  throw new ApiError('previous_response_not_found', {
    param: 'previous_response_id',
    message: `There is no response with the id '${id}' that is stored.`,
  })
}

/** An id of an item names the response that it is of. */
async function referredItems(
  c: Asking,
  caller: Caller,
  input: ResponseInput,
  earlier: ResponseInputItem[],
): Promise<Map<string, ResponseInputItem>> {
  const known = new Map(earlier.map((item) => [item.id, item]))
  const wanted = referencesIn(input).filter((id) => !known.has(id))
  const request_ids = [...new Set(wanted.flatMap((id) => itemId.safeParse(id).data ?? []))]
  const stored = await storedResponses(c, caller, request_ids, { with_input: false })
  for (const { response } of stored.values()) for (const item of response.output) known.set(item.id, item)
  const missing = wanted.find((id) => !known.has(id))
  if (missing === undefined) return known
  throw new ApiError('not_found', {
    param: 'input',
    message: `There is no item with the id '${missing}' that is stored.`,
  })
}

/** Instructions come first, and hold for this answer alone. */
function chatOf({ instructions, ...fields }: Conversation, items: ResponseInputItem[]): Chat {
  const told: Turn[] = instructions ? [{ role: 'system', text: instructions }] : []
  const said = [...told, ...itemTurns(items)]
  if (said.length === 0)
    throw new ApiError('invalid_value', { param: 'input', message: "'input' has nothing that a model reads." })
  return { turns: turnsOf(tellTools(said, toolsTold(chatTools(fields)))), is_continued: false }
}

// The result of a tool is told by whoever asks.
function itemTurns(items: readonly ResponseInputItem[]): Turn[] {
  const names = new Map<string, string>()
  return items.flatMap((item): Turn[] => {
    if (item.type === 'function_call') {
      names.set(item.call_id, item.name)
      return [{ role: 'assistant', text: callText(item) }]
    }
    if (item.type === 'function_call_output')
      return [{ role: 'user', text: resultText(nameOf(item.call_id, names), item.output) }]
    const text = item.content.map((part) => part.text).join('')
    if (item.role === 'assistant') return text === '' ? [] : [{ role: item.role, text }]
    return [{ role: item.role === 'user' ? 'user' : 'system', text }]
  })
}

function nameOf(call_id: string, names: ReadonlyMap<string, string>): string {
  const name = names.get(call_id)
  if (name !== undefined) return name
  throw new ApiError('invalid_value', {
    param: 'input',
    message: `There is no function_call with the call_id '${call_id}' before its function_call_output.`,
  })
}

type Given = Partial<Body> & { input: unknown }

/** What no template writes, and what cannot change an answer. */
function unusedOf(given: Given): string[] {
  return [
    ...unusedIn(given, body),
    ...(given.service_tier == null || serviceTierOf(given) ? [] : ['service_tier']),
    ...unusedIn(given.text ?? {}, responseText, 'text.'),
    ...unusedIn(given.stream_options ?? {}, body.shape.stream_options.unwrap().unwrap(), 'stream_options.'),
    ...unusedOfResponseTools(given),
    ...unusedOfItems(given.input),
  ]
}
