// What brings batches on: each minute's run, and whatever a node reports. Whoever claims a step of a batch has it for a while; a step is a
// bounded piece, and done again by the next where its worker is cut off (migrations/ledger/batch-steps.sql).

import * as z from 'zod'
import type { batchFault } from '../../../contract/public/batch.ts'
import { text } from '../../../contract/public/text.ts'
import { ask, askAll } from '../../db/ask.ts'
import type { Answer, Item } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import type { Asking, Call, Env } from '../../env.ts'
import { ApiError, errorBodyOf } from '../../error.ts'
import { checked, parseJson } from '../../field/read-body.ts'
import { type GetPart, type Kept, partsOf } from '../../files/content.ts'
import { type Line, linesOf } from '../../files/lines.ts'
import { putPart } from '../../files/part.ts'
import { inTurns } from '../../give-way.ts'
import { jobItem, openedResult } from '../../jobs/job.ts'
import { sendSoon } from '../../webhook/kick.ts'
import { forms } from './forms.ts'

type Claimed = Extract<Answer<'claim_batch'>, { decision: 'claimed' }>
type Step<S extends Claimed['step']> = Extract<Claimed, { step: S }> & Ids

interface Ids {
  lease: string
  output_part_id: string
  error_part_id: string
}

const SOON_MS = 200 // between two looks of one worker
const SOON_MS_MAX = 10_000 // less than a request may outlive its answer

let looked_at_ms = Number.NEGATIVE_INFINITY

/** Does what is due, after this call is answered. */
export function advanceSoon(c: Call): void {
  if (Date.now() - looked_at_ms < SOON_MS || !c.env.FILES) return
  looked_at_ms = Date.now()
  c.executionCtx.waitUntil(
    advanceBatches(c.env, SOON_MS_MAX)
      .then((steps) => steps > 0 && sendSoon(c)) // a batch that has ended is told of
      .catch((error) => console.error(`batches: ${String(error)}`)),
  )
}

/** Takes step after step until nothing is due, or for so long. Returns how many. */
export async function advanceBatches(env: Env, ms_max: number): Promise<number> {
  const end = Date.now() + ms_max
  let steps = 0
  for (; env.FILES && Date.now() < end; steps += 1) {
    const ids = {
      lease: crypto.randomUUID(),
      output_part_id: crypto.randomUUID(),
      error_part_id: crypto.randomUUID(),
    }
    const step = await ask(env, 'claim_batch', ids)
    if (step.decision === 'none') break
    await take(env, { ...step, ...ids })
  }
  return steps
}

function take(env: Env, step: Claimed & Ids): Promise<unknown> {
  switch (step.step) {
    case 'validate':
      return validate(env, step)
    case 'offer':
      return offer(env, step)
    case 'write':
      return write(env, step)
  }
}

// Some fifty lines become jobs in a step, or are written, and a part of a file has thousands: it is not read anew for each step.
const kept: Kept = { last: null }

const STEP_BYTES = 4 << 20
const STEP_LINES = 1000
const LINE_BYTES_MAX = 1 << 20 // what a request of its own may have

const lineSchema = z.strictObject({
  custom_id: text.min(1).max(512),
  method: z.literal('POST'),
  url: z.string(),
  body: z.looseObject({ model: z.string() }),
})
type Fault = z.infer<typeof batchFault>

/** Reads lines on from where the last step ended, and says of each whether it could be asked. */
async function validate(env: Env, step: Step<'validate'>): Promise<void> {
  const lines: Item<'note_lines'>['lines'] = []
  const errors: Fault[] = []
  let { read_bytes, read_lines, model } = step
  let is_end = true
  const all = linesOf(partsOf(env, kept), step, { begin: step.read_bytes, line_bytes_max: LINE_BYTES_MAX })
  for await (const line of inTurns(all)) {
    if (read_bytes - step.read_bytes >= STEP_BYTES || lines.length + errors.length >= STEP_LINES) {
      is_end = false
      break
    }
    read_bytes = line.ends_at
    if (line.is_blank) continue
    read_lines += 1
    try {
      const { custom_id, asked } = await read(env, step, line)
      model ??= asked.named.model
      if (asked.named.model !== model)
        throw new ApiError('invalid_value', {
          param: 'body.model',
          message: `All lines have the model of the first, '${model}'.`,
        })
      const custom_id_hash = await sha256(custom_id)
      lines.push({ number: read_lines, begins_at: line.begins_at, bytes: line.bytes!.length, custom_id_hash })
    } catch (error) {
      errors.push(faultOf(error, read_lines))
    }
  }
  const { batch_id, lease } = step
  await ask(env, 'note_lines', { batch_id, lease, read_bytes, read_lines, model, lines, errors, is_end })
}

/** Whatever else went wrong ends the step, which is done again. */
function isOfTheLine(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status < 500
}

function faultOf(error: unknown, line: number): Fault {
  if (!isOfTheLine(error)) throw error
  const { message, code, param } = errorBodyOf(error).error
  return { line, code: code ?? error.code, message, param }
}

type Read = Pick<Step<'validate'>, 'endpoint' | 'key_hash' | 'address'> & { is_flex?: boolean }

/** What a line asks, as its endpoint would read it; throws what is wrong with it. */
async function read(
  env: Env,
  { endpoint, key_hash, address, is_flex }: Read,
  line: Line,
  job_id: string = crypto.randomUUID(),
) {
  if (line.bytes === null)
    throw new ApiError('body_too_large', { message: `The line is larger than ${LINE_BYTES_MAX} bytes.` })
  const { custom_id, url, body } = checked(parseJson(utf8(line.bytes)), lineSchema)
  if (url !== endpoint)
    throw new ApiError('invalid_value', {
      param: 'url',
      message: `The url of each line is that of its batch, '${endpoint}'.`,
    })
  if (body.stream || body.background)
    throw new ApiError('invalid_value', {
      param: `body.${body.stream ? 'stream' : 'background'}`,
      message: 'A line of a batch is answered whole, and in its file.',
    })
  const c: Asking = { env, get: () => job_id, executionCtx: { waitUntil: () => {} } }
  const caller = { key_hash, address, knows_suspension: true as const }
  const asked = is_flex ? { ...body, service_tier: 'flex' } : body
  return { custom_id, asked: await inBody(() => forms[endpoint](c, asked, caller)) }
}

/** A refusal of the body names where in the line it is. */
async function inBody<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ApiError) || !error.detail.param) throw error
    throw new ApiError(error.code, { ...error.detail, param: `body.${error.detail.param}` })
  }
}

/** Makes jobs of lines. Their ids are the lines' own, so that one which is made again is the same. */
async function offer(env: Env, step: Step<'offer'>): Promise<void> {
  const get = partsOf(env, kept)
  const refused: Item<'note_offers'>['refused'] = []
  const items: { number: number; item: Item<'create_job'> }[] = []
  for await (const line of inTurns(step.lines)) {
    try {
      items.push({ number: line.number, item: await itemOf(env, step, { ...line, get }) })
    } catch (error) {
      refused.push({ number: line.number, refusal: refusalBy(error) })
    }
  }
  const made =
    items.length === 0
      ? []
      : await askAll(
          env,
          'create_job',
          items.map(({ item }) => item),
        )
  const offered: number[] = []
  let is_waiting = false
  for (const [at, { number }] of items.entries()) {
    const { decision } = made[at]!
    if (decision === 'created') offered.push(number)
    else if (decision === 'insufficient_quota' || decision === 'failed') is_waiting = true
    else refused.push({ number, refusal: refusalBy(refusalOf({ decision })) })
  }
  const { batch_id, lease } = step
  await ask(env, 'note_offers', { batch_id, lease, offered, refused, wait_ms: is_waiting ? WAIT_MS : 0 })
}

const WAIT_MS = 30_000 // until it is asked again whether there is money for what waits

async function itemOf(
  env: Env,
  step: Step<'offer'>,
  place: Step<'offer'>['lines'][number] & { get: GetPart },
): Promise<Item<'create_job'>> {
  const { account_id, batch_id, window_s, key_hash, address } = step
  const { job_id } = place
  const { asked } = await read(env, step, await lineAt(step, place), job_id)
  const caller = { key_hash, address, knows_suspension: true as const }
  return jobItem(env, { job_id, account_id, caller, kind: 'batch', owner: batch_id, asked, window_s })
}

function refusalBy(error: unknown): Item<'note_offers'>['refused'][number]['refusal'] {
  if (!isOfTheLine(error)) throw error
  return { status_code: error.status, error: { ...errorBodyOf(error).error } }
}

const WRITTEN_BYTES = 2 << 20

/** Writes lines that have ended, what was answered into one file and what was not into the other. */
async function write(env: Env, step: Step<'write'>): Promise<void> {
  const { account_id, batch_id, lease } = step
  const get = partsOf(env, kept)
  const written = { output: [] as string[], error: [] as string[] }
  const numbers: number[] = []
  let length = 0
  for await (const place of inTurns(step.lines)) {
    if (length > WRITTEN_BYTES) break
    const { is_answered, line } = await resultOf(env, step, { ...place, get })
    written[is_answered ? 'output' : 'error'].push(line)
    numbers.push(place.number)
    length += line.length
  }
  const put = async (lines: string[], id: string) => {
    const bytes = encoder.encode(lines.join(''))
    if (bytes.length > 0) await putPart(env, { account_id, id }, bytes)
    return { id, bytes: bytes.length }
  }
  const output = await put(written.output, step.output_part_id)
  const error = await put(written.error, step.error_part_id)
  await ask(env, 'note_results', { batch_id, lease, numbers, output, error })
}

const encoder = new TextEncoder()
const named = z.object({ custom_id: z.string() })

async function resultOf(env: Env, step: Step<'write'>, place: Step<'write'>['lines'][number] & { get: GetPart }) {
  const { job_id, refusal, result, request_id, status_code } = place
  const { bytes } = await lineAt(step, place)
  const { custom_id } = checked(JSON.parse(utf8(bytes!)), named)
  const body = result && (await openedResult<object>(env, result, { account_id: step.account_id, job_id }))
  const response = body
    ? { status_code, request_id, body }
    : refusal?.status_code
      ? { status_code: refusal.status_code, request_id: request_id ?? job_id, body: { error: refusal.error } }
      : null
  const { code, message } = refusal?.error ?? LOST
  const error = response ? null : { code, message }
  const line = { id: `batch_req_${job_id.replaceAll('-', '')}`, custom_id, response, error }
  return { is_answered: !!body, line: `${JSON.stringify(line)}\n` }
}

const LOST = { code: 'internal_error', message: 'The answer was sealed with a secret that was changed since.' }

async function lineAt(
  step: Claimed,
  { get, begins_at, bytes }: { get: GetPart; begins_at: number; bytes: number },
): Promise<Line> {
  for await (const line of linesOf(get, step, { begin: begins_at, line_bytes_max: bytes })) return line
  throw new Error('a line of a batch is not in its file')
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new ApiError('invalid_json', { message: 'The line is not valid UTF-8.' })
  }
}

async function sha256(custom_id: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(custom_id)))
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
