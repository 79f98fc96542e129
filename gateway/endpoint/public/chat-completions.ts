// POST /v1/chat/completions: messages, put into the model's own template.

import * as z from 'zod'
import { LOGPROBS_MAX, REPAIR_GAPS } from '../../../contract/internal/generation.ts'
import { chatCompletion, chatCompletionChunk } from '../../../contract/public/openai.ts'
import { text } from '../../../contract/public/text.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { type CatalogModel, namedIn } from '../../catalog/catalog.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { generationFields, unusedFields } from '../../field/generation.ts'
import { bodyOf, readBody } from '../../field/read-body.ts'
import { responseFormat, textConstraint } from '../../field/response-format.ts'
import { answerConstraint, toolFields, toolName, toolsTold, unusedOfTools } from '../../field/tools.ts'
import { askingNothing, hint, unsupported, unusedIn } from '../../field/unused.ts'
import { verify } from '../../field/verify.ts'
import { catalogFor } from '../../generate/ask-model.ts'
import { bestOf } from '../../generate/best-of.ts'
import { type GenerationForm, generate, generateFor } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { COMPLAINT, refuseBeside, type VerifiedPrompt } from '../../generate/verification.ts'
import { type Chat, chatPrompt, type Turn, turnsOf } from '../../prompt/template.ts'
import { callText, resultText, tellTools, turnText } from '../../prompt/tools.ts'
import { storingChat } from './stored-chats.ts'

const MESSAGES_MAX = 256
const TOOL_CALLS_MAX = 128 // of one message
const CALL_ID_LENGTH_MAX = 200
const BEST_OF_MAX = 16

const part = z.looseObject({ type: z.literal('text'), text })

const content = z
  .union([text, z.array(part).min(1)], {
    error: "expected a string or an array of {type: 'text', text}, without NUL and lone surrogates",
  })
  .transform((value) => (typeof value === 'string' ? value : value.map((part) => part.text).join('')))

const toolCall = z.looseObject({
  id: z.string().min(1).max(CALL_ID_LENGTH_MAX),
  type: z.literal('function'),
  function: z.looseObject({ name: toolName, arguments: text }),
})

const history = {
  // What a model said elsewhere may come back with these, and asks for nothing where they are empty.
  refusal: unsupported(),
  annotations: unsupported([]),
  audio: unsupported(),
  function_call: unsupported(),
  tool_call_id: z.string().max(CALL_ID_LENGTH_MAX).nullish(),
  tool_calls: z.array(toolCall).max(TOOL_CALLS_MAX).nullish(),
}

// Clients' own helpers put more on a message before they hand it back. No template writes it, so it is taken and named as not used.
const message = z
  .looseObject({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    ...history,
    content: content.nullish(), // a helper that found no text in an answer hands back null
  })
  .refine(({ role, content }) => role === 'assistant' || content != null, {
    path: ['content'],
    params: { code: 'invalid_type' },
    error: 'expected the text of the message',
  })
  .refine(({ role, tool_calls }) => role === 'assistant' || !tool_calls?.length, {
    path: ['tool_calls'],
    error: 'expected them in messages of the assistant alone',
  })

type Message = z.infer<typeof message>

/** The result of a call comes after it, by its id. */
const messages = z
  .array(message)
  .min(1)
  .max(MESSAGES_MAX)
  .superRefine((all, { addIssue }) => {
    const known = new Set<string>()
    for (const [at, { role, tool_calls, tool_call_id }] of all.entries()) {
      for (const { id } of tool_calls ?? []) known.add(id)
      if (role === 'tool' && !known.has(tool_call_id ?? ''))
        addIssue({
          code: 'custom',
          path: [at, 'tool_call_id'],
          message: 'expected the id of a tool call in an earlier message',
        })
    }
  })

/** What a prompt is made of. */
export const conversation = {
  messages,
  tools: toolFields.tools,
  tool_choice: toolFields.tool_choice,
  continue_final_message: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
}

const body = z
  .object({
    ...generationFields,
    store: z.boolean().nullish(), // whether it can be read again
    // So many answers are asked for, and the best given: as the model says that the catalog names for this one, or the body.
    best_of: z.int().min(1).max(BEST_OF_MAX).nullish(),
    reward_model: generationFields.model.nullish(),
    ...conversation,
    max_completion_tokens: generationFields.max_tokens,
    ...toolFields,
    functions: unsupported([]), // before what only goes with it, so that a refusal names what matters
    function_call: hint('none', 'auto'),
    audio: unsupported(),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
    modalities: unsupported(['text']),
    reasoning_effort: hint('none'),
    response_format: responseFormat.nullish(),
    verbosity: hint('medium'),
    verify,
    web_search_options: unsupported(),
  })
  .catchall(askingNothing())

type Conversation = z.infer<z.ZodObject<typeof conversation>>
type Body = z.infer<typeof body>

export const chatForm: GenerationForm<Body> = {
  schema: body,
  format: (fields, own) => {
    refuseUnranked(fields)
    return generateRequest(
      { ...fields, max_tokens: maxTokens(fields) },
      {
        ...own,
        shape: 'chat',
        prompts: [chatPrompt(own.model.template, chatOf(fields))],
        logprobs: logprobsOf(fields),
        verified: verifiedPrompt(fields, own.model.template),
        constraint: answerConstraint(fields, textConstraint(fields.response_format)),
        whole_at_end: (fields.store && fields.stream) || undefined,
      },
    )
  },
  unused: (given) => unusedOf(given as Given),
}

export const chatCompletions = endpoint(
  {
    says: 'Answers a conversation.',
    example: {
      model: 'ziya-coding-mini',
      max_tokens: 64,
      stream: true,
      messages: [{ role: 'user', content: 'Sort a list.' }],
    },
    body,
    answer: chatCompletion,
    also: { 'text/event-stream': chatCompletionChunk },
  },
  async (c, caller: Caller) => {
    const given = (await bodyOf(c)).json() as Partial<Given> | null
    if (given?.best_of != null) return rankedChat(c, caller)
    return generate(c, caller, given?.store === true ? storedForm(c, given) : chatForm)
  },
)

/** Nobody ranks the answers of a chat that is asked for in another way than by a request of its own. */
function refuseUnranked(fields: Body): void {
  for (const param of ['best_of', 'reward_model'] as const)
    if (fields[param] != null)
      throw new ApiError('unknown_parameter', { param, message: `Unknown parameter: '${param}'.` })
}

async function rankedChat(c: Call, caller: Caller): Promise<Response> {
  const fields = await readBody(c, body)
  const catalog = await catalogFor(c, caller, fields.model)
  const judge_name = fields.reward_model ?? namedIn(catalog, fields.model).judged_by
  if (judge_name === undefined) refuseUnranked(fields)
  refuseBesideRanking(c, fields)
  const judge = namedIn(catalog, judge_name!, 'reward_model')
  if (!judge.judges)
    throw new ApiError('invalid_value', { param: 'reward_model', message: `'${judge_name}' does not judge answers.` })
  const [best_of, n] = [fields.best_of!, fields.n ?? 1]
  const { turns } = chatOf(fields)
  const query = turns.findLast(({ role }) => role === 'user')?.text ?? turns.at(-1)!.text
  const asked = { ...fields, n: best_of, best_of: null, reward_model: null }
  const answers = () => generateFor(c, caller, chatForm, asked)
  return bestOf(c, caller, { judge_name: judge_name!, judge, query, best_of, n, metadata: fields.metadata, answers })
}

/** What needs an answer before all are judged, or would keep another than is given. */
function refuseBesideRanking(c: Call, { stream, store, tools, n, best_of }: Body): void {
  const beside = { stream, store, tools: tools?.length, 'Idempotency-Key': c.req.header('idempotency-key') }
  for (const [param, value] of Object.entries(beside))
    if (value) throw new ApiError('unsupported_parameter', { param, message: `'${param}' does not go with 'best_of'.` })
  if ((n ?? 1) > best_of!)
    throw new ApiError('invalid_value', { param: 'best_of', message: "'best_of' must be at least 'n'." })
}

/** The same of one that is stored, with its messages as they were given. */
function storedForm(c: Call, given: Partial<Given>): GenerationForm<Body> {
  return {
    ...chatForm,
    kept: (answer, { account_id, request: { request_id, model } }) => {
      const labels = { kind: 'chat' as const, model, metadata: given.metadata ?? null }
      return storingChat(c, { account_id, request_id }, { messages: given.messages ?? [], labels }, answer)
    },
  }
}

function verifiedPrompt(fields: Body, template: CatalogModel['template']): VerifiedPrompt | undefined {
  const { verify, n, tools } = fields
  if (!verify) return undefined
  refuseBeside({ n: n && n > 1, tools: tools?.length })
  const { turns } = chatOf(fields)
  const said: Turn[] = [
    { role: 'assistant', text: REPAIR_GAPS.answer },
    { role: 'user', text: COMPLAINT },
  ]
  return {
    around: null,
    repair: chatPrompt(template, { turns: turnsOf([...turns, ...said]), is_continued: false }),
  }
}

function maxTokens({ max_tokens, max_completion_tokens }: Body): number | null | undefined {
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens)
    throw new ApiError('invalid_value', {
      param: 'max_tokens',
      message: "'max_tokens' and 'max_completion_tokens' are two names of one limit; give one.",
    })
  return max_completion_tokens ?? max_tokens
}

function logprobsOf({ logprobs, top_logprobs }: Body): number | null {
  if (logprobs) return top_logprobs ?? 0
  if (!top_logprobs) return null
  throw new ApiError('invalid_value', { param: 'top_logprobs', message: "'top_logprobs' needs 'logprobs': true." })
}

/** The last word of an assistant is continued, unless the caller wants another answer after it. */
export function chatOf(fields: Conversation): Chat {
  const { messages, continue_final_message, add_generation_prompt } = fields
  const turns = tellTools(messageTurns(messages), toolsTold(fields))
  const ends_with_answer = turns.at(-1)!.role === 'assistant' && !messages.at(-1)!.tool_calls?.length
  if (continue_final_message && (add_generation_prompt || !ends_with_answer))
    throw new ApiError('invalid_value', {
      param: 'continue_final_message',
      message: "'continue_final_message' needs a last message of the assistant, and no 'add_generation_prompt'.",
    })
  const is_continued = continue_final_message ?? !add_generation_prompt
  return { turns: turnsOf(turns), is_continued: ends_with_answer && is_continued }
}

// The result of a tool is told by whoever asks.
function messageTurns(messages: readonly Message[]): Turn[] {
  const names = new Map<string, string>()
  return messages.map(({ role, content, tool_calls, tool_call_id }) => {
    const text = content ?? ''
    const calls = tool_calls ?? []
    for (const call of calls) names.set(call.id, call.function.name)
    if (role === 'tool') return { role: 'user', text: resultText(names.get(tool_call_id!)!, text) }
    if (role === 'assistant') return { role, text: turnText([text, ...calls.map((call) => callText(call.function))]) }
    return { role: role === 'developer' ? 'system' : role, text }
  })
}

interface Given extends Partial<z.infer<z.ZodObject<typeof toolFields>>> {
  stream_options?: object | null | undefined
  messages: { role: string; content: unknown }[]
  store?: boolean | null
  best_of?: unknown
  metadata?: Record<string, string> | null
}

/** What no template writes: fields of the body, of its messages, and of the parts of their contents. */
function unusedOf(given: Given): string[] {
  const ofMessages = given.messages.flatMap(({ content, ...rest }, at) => [
    ...unusedIn({ content, ...rest }, message, `messages[${at}].`),
    ...(Array.isArray(content) ? content : []).flatMap((given, place) =>
      unusedIn(given, part, `messages[${at}].content[${place}].`),
    ),
  ])
  return [...unusedFields(given, body), ...unusedOfTools(given), ...ofMessages]
}
