// A request's body, or the refusal that names what is wrong with it. Bounded before it is parsed, in bytes, depth and
// members (excess.ts); then strictly: a field we do not know is a field the caller believes in.

import type * as z from 'zod'
import { Meter } from '../db/meter.ts'
import type { Call } from '../env.ts'
import { ApiError, type ErrorCode } from '../error.ts'
import { excessOf } from './excess.ts'
import { Turns } from './turns.ts'

/** A body that was read, and what it is as JSON: parsed once, by whoever needs it first. */
export interface Body {
  text: string
  /** Refuses what is no JSON or nested too deeply. */
  json(): unknown
}

const BODY_BYTES_MAX = 1 << 20
const DRAINED_BYTES_MAX = 64 << 20
const DRAINED_MS_MAX = 10_000
const ECHO_LENGTH_MAX = 100
// A schema's word for a kind of thing that is not taken; its name follows.
const NO = 'no '

const LARGE_BYTES_MIN = 16 << 10 // what is smaller is done before another's turn would come

// A client sends its body at once, and whoever breaks off two a second has them cost what they never will be answered for.
const broken_off = new Meter(120)
const BROKEN_OFF = 'Too many requests were broken off while they were sent.'

const turns = new Turns({ wait_ms_max: 5000, turn_ms_max: 250 })

export async function readBody<B>(c: Call, schema: z.ZodType<B>): Promise<B> {
  const body = await bodyOf(c)
  if (body.text === '') {
    const nothing = schema.safeParse({}) // who sends no body leaves out what may be left out
    if (nothing.success) return nothing.data
  }
  return checked(body.json(), schema)
}

/** The value as the schema reads it, or the refusal of what it found first. */
export function checked<B>(value: unknown, schema: z.ZodType<B>): B {
  const result = schema.safeParse(value, { reportInput: true })
  if (!result.success) throw asApiError(result.error.issues[0]!)
  return result.data
}

/** The request's body, kept in the context: whoever asks again gets the same. */
export async function bodyOf(c: Call): Promise<Body> {
  const known = c.get('body')
  if (known) return known
  checkMediaType(c.req.raw)
  const bytes = await sentBytes(c)
  await turnAt(c, bytes.byteLength)
  const body = remembering(decode(bytes))
  c.set('body', body)
  return body
}

/** The whole body; refuses a key that has broken off too many. */
async function sentBytes(c: Call): Promise<ArrayBuffer> {
  const party = partyOf(c)
  if (broken_off.isFull(party)) throw new ApiError('rate_limit_requests', { message: BROKEN_OFF })
  return readBytes(c.req.raw, BODY_BYTES_MAX).catch((error) => {
    if (error instanceof ApiError && error.code === 'client_gone') broken_off.take(party, 1)
    throw error
  })
}

function partyOf(c: Call): string {
  return c.get('key_hash') ?? c.get('address') ?? ''
}

/** Resolves when the caller may work on so much; refuses where that takes too long, or for a client that left meanwhile. */
export async function turnAt(c: Call, bytes: number): Promise<void> {
  if (bytes < LARGE_BYTES_MIN) return
  if (!(await turns.mine(partyOf(c), (work) => c.executionCtx.waitUntil(work)))) throw new ApiError('overloaded')
  if (c.req.raw.signal.aborted) throw new ApiError('client_gone')
}

function remembering(text: string): Body {
  let parsed: { json: unknown } | null = null
  return {
    text,
    json: () => {
      parsed ??= { json: parseJson(text) }
      return parsed.json
    },
  }
}

/** The body as text, never more than `bytes_max`, whether or not a length was announced. */
export async function readText(request: Request, bytes_max: number): Promise<string> {
  return decode(await readBytes(request, bytes_max))
}

async function readBytes(request: Request, bytes_max: number): Promise<ArrayBuffer> {
  const announced = request.headers.get('content-length')
  if (Number(announced ?? 0) > bytes_max) {
    await drain(request)
    throw tooLarge(bytes_max)
  }
  return received(request, bytes_max, announced !== null)
}

/** What the client sent; where it did not come to its end, there is nobody to answer. */
async function received(request: Request, bytes_max: number, is_announced: boolean): Promise<ArrayBuffer> {
  try {
    // Read at once where the server has seen to the length; part by part costs more than all the rest of the check.
    return is_announced ? await request.arrayBuffer() : await readParts(request, bytes_max)
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError('client_gone')
  }
}

async function readParts(request: Request, bytes_max: number): Promise<ArrayBuffer> {
  const parts: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  for await (const part of request.body ?? []) {
    bytes += part.length
    if (bytes <= bytes_max) parts.push(part)
    else parts.length = 0
    if (bytes > DRAINED_BYTES_MAX) break
  }
  if (bytes > bytes_max) throw tooLarge(bytes_max)
  return new Blob(parts).arrayBuffer()
}

/** Reads on and forgets: a client that is still sending would find its connection broken, and not the refusal. Not for ever, though. */
export async function drain({ body }: Request, bytes_max = DRAINED_BYTES_MAX): Promise<void> {
  const end = Date.now() + DRAINED_MS_MAX
  let bytes = 0
  for await (const part of body ?? []) {
    bytes += part.length
    if (bytes > bytes_max || Date.now() > end) return
  }
}

function tooLarge(bytes_max: number): ApiError {
  return new ApiError('body_too_large', { message: `The body is larger than ${bytes_max} bytes.` })
}

function checkMediaType({ headers }: Request): void {
  const type = headers.get('content-type') ?? 'application/json'
  if (!/^application\/json\s*(;|$)/i.test(type)) throw new ApiError('unsupported_media_type')
  if ((headers.get('content-encoding') ?? 'identity') !== 'identity') throw new ApiError('unsupported_media_type')
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function decode(bytes: ArrayBuffer): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new ApiError('invalid_json', { message: 'The body is not valid UTF-8.' })
  }
}

export function parseJson(text: string): unknown {
  const excess = excessOf(text)
  if (excess === 'depth') throw new ApiError('invalid_json', { message: 'The body is nested too deeply.' })
  if (excess)
    throw new ApiError('invalid_value', {
      message: 'The arrays and objects of the body have more members than all may have together.',
    })
  try {
    return JSON.parse(text)
  } catch {
    throw new ApiError('invalid_json')
  }
}

/** The refusal for what a schema found first. A schema may name the code itself: `params: { code }`. */
function asApiError(issue: z.core.$ZodIssue): ApiError {
  const own = 'params' in issue ? (issue.params as { code?: ErrorCode } | undefined)?.code : undefined
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]!] : issue.path
  const param = printable(paramOf(path))
  const code = own ?? codeOf(issue)
  const message = code === 'thread_unsupported_request' ? {} : { message: messageOf(code, param, issue) }
  return new ApiError(code, { param: param || null, ...message })
}

function codeOf(issue: z.core.$ZodIssue): ErrorCode {
  if (issue.code === 'unrecognized_keys') return 'unknown_parameter'
  if (issue.code === 'invalid_union' && issue.message.startsWith(NO)) return 'unsupported_parameter'
  if (issue.code !== 'invalid_type' && issue.code !== 'invalid_union') return 'invalid_value'
  return issue.input === undefined && issue.path.length === 1 ? 'missing_required_parameter' : 'invalid_type'
}

function messageOf(code: ErrorCode, param: string, issue: z.core.$ZodIssue): string {
  if (code === 'unknown_parameter') return `Unknown parameter: '${param}'.`
  if (code === 'unsupported_parameter' && issue.message.startsWith(NO))
    return `Unsupported parameter: '${param}' cannot be '${printable(issue.message.slice(NO.length))}' here.`
  if (code === 'unsupported_parameter') return `Unsupported parameter: '${param}' cannot be used here.`
  if (code === 'missing_required_parameter') return `Missing required parameter: '${param}'.`
  const where = param ? `'${param}'` : 'the body'
  return `Invalid ${code === 'invalid_type' ? 'type' : 'value'} for ${where}: ${printable(issue.message)}.`
}

// Writes a path as OpenAI does: messages[0].content.
function paramOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text ? `${text}.${String(key)}` : String(key)),
    '',
  )
}

function printable(text: string): string {
  return text.slice(0, ECHO_LENGTH_MAX).toWellFormed()
}
