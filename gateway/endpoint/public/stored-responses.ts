// Responses that are stored: kept when they have ended, and read again, by keys of their account alone. Each is sealed with a key that is
// made of its account, its id and a secret that the database does not have.

import * as z from 'zod'
import {
  type ResponseBody,
  type ResponseEvent,
  type ResponseInputItem,
  response as responseBody,
  responseDeleted,
  responseEvent,
  responseInputItems,
} from '../../../contract/public/responses.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask, obtain } from '../../db/ask.ts'
import { refusalOf } from '../../db/refusal.ts'
import { endpoint } from '../../endpoint.ts'
import { type Asking, type Call, type Env, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { pathId, responseId } from '../../field/id.ts'
import { firstLacked } from '../../field/last-event-id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { openedPart, sealedPart } from '../../sealed-part.ts'
import { cancelBackground, findBackground, unansweredBody } from './background.ts'
import { streamFrom } from './background-stream.ts'

/** A stored response, and what it was made from. */
export interface Stored {
  response: ResponseBody
  input: ResponseInputItem[]
}

const READ_MAX = 16 // at a time

/** Those that are there, by their requests' ids. */
export async function storedResponses(
  c: Asking,
  caller: Caller,
  request_ids: readonly string[],
  { with_input }: { with_input: boolean },
): Promise<Map<string, Stored>> {
  const found = new Map<string, Stored>()
  for (let at = 0; at < request_ids.length; at += READ_MAX) {
    const item = { ...caller, request_ids: request_ids.slice(at, at + READ_MAX), with_input }
    const { account_id, responses } = await obtain(c.env, 'read_responses', item, 'allowed')
    for (const { request_id, response, input } of responses) {
      const of = { account_id, id: request_id }
      const body = await openedPart<ResponseBody>(c.env, response, { ...of, name: 'response' })
      const items = input === null ? [] : await openedPart<ResponseInputItem[]>(c.env, input, { ...of, name: 'input' })
      if (body && items) found.set(request_id, { response: body, input: items })
    }
  }
  return found
}

interface Owned {
  account_id: string
  request_id: string
}

/** An answer that is stored before its client sees it end; where it could not be, it says `store: false`. */
export function storing(c: Asking, owned: Owned & { input: ResponseInputItem[] }, answer: Response): Response {
  return holdingEnd(answer, /^event: response\.(?:completed|incomplete)\n/m, async (held) => {
    const ending = new Ending(held)
    const told = ending.response
    const { input, account_id, request_id } = owned
    const kept = told && keepStored(c, { account_id, request_id }, { input, response: told })
    return ending.text({ is_stored: (await kept) ?? true })
  })
}

/** Holds the end of an answer back, all of a whole one, until `finish` has made of it what is sent. */
export function holdingEnd(answer: Response, begin: RegExp, finish: (held: string) => Promise<string>): Response {
  if (answer.status !== 200 || !answer.body) return answer
  const begins = answer.headers.get('content-type')?.startsWith('text/event-stream') ? begin : /\S/
  const decoder = new TextDecoder()
  const encoder = new TextEncoder()
  let held = ''
  const keeper = new TransformStream<Uint8Array, Uint8Array>({
    transform(part, controller) {
      held += decoder.decode(part, { stream: true })
      const at = held.search(begins)
      const length = at >= 0 ? at : held.lastIndexOf('\n') + 1 // whole lines
      if (length > 0) controller.enqueue(encoder.encode(held.slice(0, length)))
      held = held.slice(length)
    },
    async flush(controller) {
      controller.enqueue(encoder.encode(await finish(held)))
    },
  })
  return new Response(answer.body.pipeThrough(keeper), answer)
}

/** The end of an answer: the event that ends a stream, or all of a whole one. */
class Ending {
  readonly #unread: string

  constructor(held: string) {
    this.#unread = held
  }

  /** Null where it ended otherwise. */
  get response(): ResponseBody | null {
    const told = this.#told
    return told && told.response.status !== 'failed' ? told.response : null
  }

  text({ is_stored }: { is_stored: boolean }): string {
    const told = this.#told
    if (is_stored || !told) return this.#unread
    told.response.store = false
    return this.#unread.slice(0, told.begin) + JSON.stringify(told.json) + (told.begin > 0 ? '\n\n' : '')
  }

  get #told(): { begin: number; json: object; response: ResponseBody } | null {
    const begin = this.#unread.indexOf('{')
    const json = parsed(this.#unread.slice(Math.max(0, begin))) as
      | ResponseBody
      | ResponseEvent
      | { error: object }
      | null
    if (json === null) return null
    if ('response' in json) return { begin, json, response: json.response }
    return 'object' in json ? { begin, json, response: json } : null
  }
}

/** Null for what was cut. */
function parsed(text: string): object | null {
  try {
    return JSON.parse(text) as object
  } catch {
    return null
  }
}

/** What of a chat can be found without opening it. */
export type ChatLabels = { kind: 'chat'; model: string; metadata: Record<string, string> | null }

/** Whether it is stored. Nothing that goes wrong here takes the answer from its client, and none that leaves meanwhile the storing. */
export function keepStored(
  c: Asking,
  owned: Owned,
  said: { input: object[]; response: object },
  labels?: ChatLabels,
): Promise<boolean> {
  const kept = keep(c.env, owned, said, labels)
  c.executionCtx.waitUntil(kept)
  return kept
}

async function keep(
  env: Env,
  owned: Owned,
  { input, response }: { input: object[]; response: object },
  labels: ChatLabels | undefined,
): Promise<boolean> {
  try {
    const of = { account_id: owned.account_id, id: owned.request_id }
    const item = {
      ...owned,
      input: await sealedPart(env, input, { ...of, name: 'input' }),
      response: await sealedPart(env, response, { ...of, name: 'response' }),
      account_bytes_max: settingsOf(env).stored_bytes_max,
      ...labels,
    }
    return (await ask(env, 'keep_response', item)).decision === 'kept'
  } catch (error) {
    console.error(`${owned.request_id}: the response was not stored: ${error instanceof ApiError ? error.code : error}`)
    return false
  }
}

/** The one in the path. */
async function storedOf(c: Call, caller: Caller, with_input: boolean): Promise<Stored> {
  const id = pathId(c, 'id', responseId)
  const stored = (await storedResponses(c, caller, [id], { with_input })).get(id)
  if (!stored) throw missing()
  return stored
}

// The same for one that is another account's.
function missing(): ApiError {
  return new ApiError('not_found', { message: 'There is no response of this id that is stored.' })
}

const includes = {
  include: z.unknown().optional(),
  'include[]': z.unknown().optional(),
}

const retrieving = z.strictObject({
  ...includes,
  stream: z.enum(['true', 'false']).default('false'),
  starting_after: z.coerce
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .optional(),
  include_obfuscation: z.unknown().optional(),
})

export const retrieveResponse = endpoint(
  {
    says: 'Reads a stored response again, or one in the background as it is, or its stream from any event on.',
    query: retrieving,
    answer: responseBody,
    also: { 'text/event-stream': responseEvent },
  },
  async (c, caller: Caller) => {
    const { stream, starting_after } = readQuery(c, retrieving)
    if (stream === 'true') {
      const first = starting_after === undefined ? (firstLacked(c) ?? 0) : starting_after + 1
      return streamResponse(c, caller, { job_id: pathId(c, 'id', responseId), first })
    }
    if (starting_after !== undefined)
      throw new ApiError('invalid_value', {
        param: 'starting_after',
        message: "'starting_after' needs 'stream': true.",
      })
    return c.json(await currentBody(c, caller, pathId(c, 'id', responseId)))
  },
)

/** Answered, or as it is in the background. It may have been answered between the two looks. */
async function currentBody(c: Call, caller: Caller, id: string): Promise<ResponseBody> {
  const stored = async () => (await storedResponses(c, caller, [id], { with_input: false })).get(id)?.response
  const response = await stored()
  if (response) return response
  const background = await findBackground(c, caller, id)
  const current = background && unansweredBody(background)
  const found = current ?? (background && (await stored()))
  if (!found) throw missing()
  return found
}

/** From that event on. Only what is made in the background has a stream that is kept, for a day. */
export async function streamResponse(
  c: Call,
  caller: Caller,
  { job_id, first }: { job_id: string; first: number },
): Promise<Response> {
  const stored = async () => (await storedResponses(c, caller, [job_id], { with_input: false })).get(job_id)?.response
  const background = await findBackground(c, caller, job_id)
  if (background) return streamFrom(c.env, { ...background, stored }, first)
  if (!(await stored())) throw missing()
  throw new ApiError('invalid_value', {
    param: 'stream',
    message: 'Only a response that was made in the background has a stream that can be read again.',
  })
}

export const cancelResponse = endpoint(
  { says: 'Ends a response in the background, where it has not ended.', answer: responseBody },
  async (c, caller: Caller) => {
    const id = pathId(c, 'id', responseId)
    const background = await cancelBackground(c, caller, id)
    const current = background ? unansweredBody(background) : null
    const response = current ?? (await storedOf(c, caller, false)).response
    if (background) return c.json(response)
    throw new ApiError('invalid_value', {
      message: 'Only a response that was made in the background can be cancelled.',
    })
  },
)

export const deleteResponse = endpoint(
  { says: 'Deletes a stored response.', answer: responseDeleted },
  async (c, caller: Caller) => {
    const id = c.req.param('id')!
    const item = { ...caller, request_id: pathId(c, 'id', responseId) }
    const { decision } = await ask(c.env, 'delete_response', item)
    if (decision === 'not_found') throw missing()
    if (decision !== 'deleted') throw refusalOf({ decision })
    return c.json({ id, object: 'response', deleted: true })
  },
)

const listing = pageQuery({
  ...includes,
  after: z.string().max(200).optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
})

export const listInputItems = endpoint(
  { says: 'Lists what a stored response was made from, the last first.', query: listing, answer: responseInputItems },
  async (c, caller: Caller) => {
    const { limit, after, order } = readQuery(c, listing)
    const { input } = await storedOf(c, caller, true)
    const ordered = order === 'asc' ? input : input.toReversed()
    const begin = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1
    if (after !== undefined && begin === 0)
      throw new ApiError('invalid_value', { param: 'after', message: `There is no item with the id '${after}'.` })
    const data = ordered.slice(begin, begin + limit)
    const [first, last] = [data.at(0)?.id ?? null, data.at(-1)?.id ?? null]
    return c.json({ object: 'list', data, first_id: first, last_id: last, has_more: begin + limit < ordered.length })
  },
)
