// The items that a response is made from: what was said, called, and answered to calls. Each is kept in one form, whatever of OpenAI's
// spellings it came in.

import * as z from 'zod'
import type { ResponseInputItem } from '../../contract/public/responses.ts'
import { text } from '../../contract/public/text.ts'
import { toolName } from './tools.ts'
import { ofTypes, unusedIn } from './unused.ts'

const ITEMS_MAX = 1024
const ID_LENGTH_MAX = 200

const part = z.looseObject({ type: z.enum(['input_text', 'output_text', 'text']), text })
const parts = z
  .preprocess(
    (value) => (typeof value === 'string' ? [{ type: 'text', text: value }] : value),
    z.array(z.discriminatedUnion('type', [part], ofTypes('a part'))),
  )
  .meta({ type: ['string', 'array'] })

const id = z.string().max(ID_LENGTH_MAX).nullish()
const call_id = z.string().min(1).max(ID_LENGTH_MAX)

const message = z.looseObject({
  type: z.literal('message').optional(),
  id,
  role: z.enum(['user', 'assistant', 'system', 'developer']),
  content: parts,
  status: z.string().nullish(),
})

const call = z.looseObject({
  type: z.literal('function_call'),
  id,
  call_id,
  name: toolName,
  arguments: text,
  status: z.string().nullish(),
})

const result = z.looseObject({
  type: z.literal('function_call_output'),
  id,
  call_id,
  output: parts,
  status: z.string().nullish(),
})

// What a model thought elsewhere may come back. No template writes it, so it is taken and named as not used.
const thought = z.looseObject({ type: z.literal('reasoning') })

/** An item of a response that is stored. */
const reference = z.looseObject({ type: z.literal('item_reference'), id: z.string().max(ID_LENGTH_MAX) })

const item = z.discriminatedUnion('type', [message, call, result, thought, reference], ofTypes('an item'))
type GivenItem = z.infer<typeof item>

export const responseInput = z
  .preprocess(
    (value) => (typeof value === 'string' ? [{ role: 'user', content: value }] : value),
    z.array(item).min(1).max(ITEMS_MAX),
  )
  .meta({ type: ['string', 'array'] })

export type ResponseInput = z.infer<typeof responseInput>

/** What is referred to, by id. */
export function referencesIn(input: ResponseInput): string[] {
  return input.flatMap((given) => (given.type === 'item_reference' ? [given.id] : []))
}

/** One that has not got its id yet. */
type Unnamed = ResponseInputItem extends infer I
  ? I extends ResponseInputItem
    ? Omit<I, 'id'> & { id: string | null }
    : never
  : never

/**
 * The items as they are kept; those of `earlier` come first. `referred` are the stored items by id. Each gets an id that no other has,
 * made of the request's, where it brought none.
 */
export function itemsOf(
  input: ResponseInput,
  {
    earlier,
    referred,
    request_id,
  }: {
    earlier: ResponseInputItem[]
    referred: ReadonlyMap<string, ResponseInputItem>
    request_id: string
  },
): ResponseInputItem[] {
  const taken = new Set(earlier.map(({ id }) => id))
  const given = input.flatMap((one) => unnamed(one, referred))
  const named = given.map((one, at) => {
    const own =
      one.id !== null && !taken.has(one.id) ? one.id : `${PREFIXES[one.type]}_${request_id.replaceAll('-', '')}_i${at}`
    taken.add(own)
    return { ...one, id: own } as ResponseInputItem
  })
  return [...earlier, ...named]
}

const PREFIXES = { message: 'msg', function_call: 'fc', function_call_output: 'fco' } as const

function unnamed(given: GivenItem, referred: ReadonlyMap<string, ResponseInputItem>): Unnamed[] {
  if (given.type === 'reasoning') return []
  if (given.type === 'item_reference') return [referred.get(given.id)!]
  const id = given.id ?? null
  const status = 'completed' as const
  if (given.type === 'function_call') {
    const { call_id, name, arguments: text } = given
    return [{ id, type: 'function_call', status, call_id, name, arguments: text }]
  }
  if (given.type === 'function_call_output')
    return [{ id, type: 'function_call_output', status, call_id: given.call_id, output: joined(given.output) }]
  const { role, content } = given
  const texts = content.map(({ text }) => text)
  if (role === 'assistant')
    return [
      {
        id,
        type: 'message',
        status,
        role,
        content: texts.map((text) => ({ type: 'output_text', text, annotations: [], logprobs: [] })),
      },
    ]
  return [{ id, type: 'message', status, role, content: texts.map((text) => ({ type: 'input_text', text })) }]
}

function joined(parts: readonly { text: string }[]): string {
  return parts.map(({ text }) => text).join('')
}

const KNOWN = { message, function_call: call, function_call_output: result }

/** What no template writes: thoughts, and fields of items and of their parts. */
export function unusedOfItems(given: unknown): string[] {
  if (!Array.isArray(given)) return []
  return (given as { type?: keyof typeof KNOWN | 'reasoning'; content?: unknown; output?: unknown }[]).flatMap(
    (one, at) => {
      const { type = 'message' } = one
      if (type === 'reasoning') return [`input[${at}]`]
      const schema = KNOWN[type]
      if (!schema) return []
      return [...unusedIn(one, schema, `input[${at}].`), ...unusedParts(one.content, `input[${at}].content`)]
    },
  )
}

// What an answer's own part comes back with says nothing new.
const OF_ANSWERS = ['annotations', 'logprobs']

function unusedParts(given: unknown, at: string): string[] {
  if (!Array.isArray(given)) return []
  return given.flatMap((one: object, place) =>
    unusedIn(one, part, `${at}[${place}].`).filter((name) => !OF_ANSWERS.some((own) => name.endsWith(`].${own}`))),
  )
}
