// Chats that are stored because their callers said so: read again, found by model and metadata, and taken away, as stored responses are.

import * as z from 'zod'
import { WHOLE_ANSWER } from '../../../contract/internal/generation.ts'
import {
  type ChatCompletion,
  type StoredMessage,
  storedChat,
  storedChatDeleted,
  storedChatMessages,
  storedChats,
} from '../../../contract/public/openai.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask, obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { metadataOf, metadataValue } from '../../field/generation.ts'
import { chatId, pathId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { openedPart } from '../../sealed-part.ts'
import { type ChatLabels, holdingEnd, keepStored } from './stored-responses.ts'

/** The answer to a chat, stored before its client sees it end. What says all of a stream at its end is not sent on. */
export function storingChat(
  c: Call,
  owned: { account_id: string; request_id: string },
  { messages, labels }: { messages: object[]; labels: ChatLabels },
  answer: Response,
): Response {
  return holdingEnd(answer, WHOLE, async (held) => {
    const whole = held.startsWith(WHOLE_ANSWER) ? held.slice(WHOLE_ANSWER.length, held.indexOf('\n')) : held
    const rest = held.startsWith(WHOLE_ANSWER) ? held.slice(held.indexOf('\n\n') + 2) : held
    const response = completionIn(whole)
    if (response) await keepStored(c, owned, { input: messages, response }, labels)
    return rest
  })
}

const WHOLE = new RegExp(`^${WHOLE_ANSWER}`, 'm')

/** Null for what failed, or was cut. */
function completionIn(text: string): ChatCompletion | null {
  try {
    const json = JSON.parse(text) as ChatCompletion | { error: object }
    return 'choices' in json ? json : null
  } catch {
    return null
  }
}

type Chats = Extract<Answer<'list_chats'>, { decision: 'allowed' }>

function shown(c: Call, { account_id, chats }: Chats) {
  return Promise.all(
    chats.map(async ({ request_id, response, metadata }) => {
      const of = { account_id, id: request_id, name: 'response' }
      const body = await openedPart<ChatCompletion>(c.env, response, of)
      return body && { ...body, metadata }
    }),
  )
}

function missing(): ApiError {
  return new ApiError('not_found', { message: 'There is no chat completion of this id that is stored.' })
}

/** The one in the path, and what it was made from. */
async function chatOf(c: Call, caller: Caller, with_input: boolean) {
  const request_ids = [pathId(c, 'id', chatId)]
  const found = await obtain(c.env, 'read_responses', { ...caller, request_ids, with_input, kind: 'chat' }, 'allowed')
  const [chat] = found.responses
  if (!chat) throw missing()
  const of = { account_id: found.account_id, id: chat.request_id }
  const response = await openedPart<ChatCompletion>(c.env, chat.response, { ...of, name: 'response' })
  const messages = chat.input === null ? [] : await openedPart<Given[]>(c.env, chat.input, { ...of, name: 'input' })
  if (!response || !messages) throw missing()
  return { completion: { ...response, metadata: chat.metadata ?? {} }, messages }
}

export const retrieveChat = endpoint(
  { says: 'Reads a stored chat completion again.', answer: storedChat },
  async (c, caller: Caller) => c.json((await chatOf(c, caller, false)).completion),
)

const updating = z.strictObject({ metadata: metadataOf(metadataValue) })

export const updateChat = endpoint(
  { says: 'Gives a stored chat completion other metadata.', body: updating, answer: storedChat },
  async (c, caller: Caller) => {
    const { metadata } = await readBody(c, updating)
    const changed = await ask(c.env, 'update_chat', { ...caller, request_id: pathId(c, 'id', chatId), metadata })
    if (changed.decision === 'not_found') throw missing()
    if (changed.decision !== 'allowed') throw refusalOf(changed)
    const [chat] = await shown(c, changed)
    if (!chat) throw missing()
    return c.json(chat)
  },
)

export const deleteChat = endpoint(
  { says: 'Deletes a stored chat completion.', answer: storedChatDeleted },
  async (c, caller: Caller) => {
    const id = c.req.param('id')!
    const item = { ...caller, request_id: pathId(c, 'id', chatId), kind: 'chat' as const }
    const { decision } = await ask(c.env, 'delete_response', item)
    if (decision === 'not_found') throw missing()
    if (decision !== 'deleted') throw refusalOf({ decision })
    return c.json({ object: 'chat.completion.deleted', id, deleted: true })
  },
)

const LABEL = /^metadata\[(.{1,64})\]$/

const listing = pageQuery({
  after: chatId.optional(),
  order: z.enum(['asc', 'desc']).default('asc'),
  model: z.string().max(200).optional(),
}).catchall(metadataValue)

export const listChats = endpoint(
  {
    says: 'Lists stored chat completions, the first first; metadata[NAME]=VALUE finds those that have it.',
    query: listing,
    answer: storedChats,
  },
  async (c, caller: Caller) => {
    const { limit, after, order, model, ...more } = readQuery(c, listing)
    const labels = Object.entries(more).map(([name, value]) => [labelOf(name), value])
    const found = await ask(c.env, 'list_chats', {
      ...{ ...caller, limit, after: after ?? null, order, model: model ?? null },
      metadata: Object.fromEntries(labels) as Record<string, string>,
    })
    if (found.decision === 'not_found')
      throw new ApiError('invalid_value', {
        param: 'after',
        message: 'There is no chat completion of this id that is stored.',
      })
    if (found.decision !== 'allowed') throw refusalOf(found)
    const data = (await shown(c, { ...found, chats: found.chats.slice(0, limit) })).filter((chat) => chat !== null)
    return c.json(listOf(data, found.chats.length > limit))
  },
)

function labelOf(name: string): string {
  const label = LABEL.exec(name)?.[1]
  if (label === undefined) throw new ApiError('unknown_parameter', { param: name.slice(0, 100) })
  return label
}

function listOf<T extends { id: string }>(data: T[], has_more: boolean) {
  return { object: 'list', data, first_id: data.at(0)?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more }
}

const listingMessages = pageQuery({
  after: z.string().max(200).optional(),
  order: z.enum(['asc', 'desc']).default('asc'),
})

/** A message as it was given. */
type Given = Pick<StoredMessage, 'role' | 'tool_calls' | 'tool_call_id' | 'name'> & {
  content?: string | { type: 'text'; text: string }[] | null
}

export const listChatMessages = endpoint(
  {
    says: 'Lists the messages that a stored chat completion was made from.',
    query: listingMessages,
    answer: storedChatMessages,
  },
  async (c, caller: Caller) => {
    const { limit, after, order } = readQuery(c, listingMessages)
    const { completion, messages } = await chatOf(c, caller, true)
    const all = messages.map((given, place) => messageOf(`${completion.id}-${place}`, given))
    const ordered = order === 'asc' ? all : all.toReversed()
    const begin = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1
    if (after !== undefined && begin === 0)
      throw new ApiError('invalid_value', { param: 'after', message: `There is no message with the id '${after}'.` })
    return c.json(listOf(ordered.slice(begin, begin + limit), begin + limit < ordered.length))
  },
)

function messageOf(id: string, { role, content = null, tool_calls, tool_call_id, name }: Given): StoredMessage {
  const content_parts = Array.isArray(content) ? content.map(({ text }) => ({ type: 'text' as const, text })) : null
  return {
    id,
    role,
    content: content_parts ? content_parts.map(({ text }) => text).join('') : (content as string | null),
    content_parts,
    refusal: null,
    ...(tool_calls && { tool_calls }),
    ...(tool_call_id != null && { tool_call_id }),
    ...(name != null && { name }),
  }
}
