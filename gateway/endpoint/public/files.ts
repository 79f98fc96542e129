// /v1/files: what an account uploads for its batches, and what they write. A file goes through in parts, however long it is; it is one only
// when all of it has come.

import * as z from 'zod'
import * as shown from '../../../contract/public/file.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask, obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { accountOf, rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { type Call, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { fileId, pathId } from '../../field/id.ts'
import { name } from '../../field/name.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { checked, drain } from '../../field/read-body.ts'
import { unixSeconds } from '../../field/time.ts'
import { bytesOf, partsOf } from '../../files/content.ts'
import { type Form, readForm } from '../../files/form.ts'
import { Gathering } from '../../files/gathering.ts'
import { bucketOf, putPart } from '../../files/part.ts'
import { streamOf } from '../../stream-of.ts'

const DRAINED_BYTES_MAX = 1 << 30
const FORM_BYTES_MAX = 100_000 // of a form beside its file
const DAY_S = 86_400
const EXPIRES_AFTER_S = 30 * DAY_S

const seconds = z
  .string()
  .regex(/^\d{1,9}$/)
  .transform(Number)
  .pipe(z.int().min(3600).max(EXPIRES_AFTER_S))
const fields = z.strictObject({
  filename: name,
  purpose: z
    .string()
    .refine((purpose) => purpose === 'batch', { error: "files are taken for the purpose 'batch' alone" }),
  'expires_after[anchor]': z.literal('created_at').optional(),
  'expires_after[seconds]': seconds.optional(),
})
const form = z.object({
  file: z.string().meta({ format: 'binary' }),
  ...fields.omit({ filename: true }).shape,
})

export const createFile = endpoint(
  { says: 'Uploads a file for a batch: lines of JSON, up to 200 MB.', form, answer: shown.file },
  async (c, caller: Caller) => {
    try {
      return await received(c, caller)
    } catch (error) {
      await drain(c.req.raw, DRAINED_BYTES_MAX).catch(() => {}) // who is still sending would not read why it is refused
      throw error
    }
  },
)

async function received(c: Call, caller: Caller): Promise<Response> {
  bucketOf(c.env)
  const { file_bytes_max } = settingsOf(c.env)
  const begun = await begin(c, caller)
  try {
    const part = { id: begun.part_id, bytes: 0 }
    const gathering = new Gathering(async (bytes) => {
      await putPart(c.env, { ...begun, id: part.id }, bytes)
      const next_id = crypto.randomUUID()
      await obtain(c.env, 'write_part', { ...begun.file, part: { ...part, bytes: bytes.length }, next_id }, 'written')
      part.id = next_id
    })
    const form = await readForm(c.req.raw, { bytes_max: file_bytes_max, take: (bytes) => gathering.add(bytes) })
    const { rest } = gathering
    const asked = askedOf(form)
    if (rest.length > 0) await putPart(c.env, { ...begun, id: part.id }, rest)
    const item = { ...begun.file, part: { ...part, bytes: rest.length }, ...asked }
    return c.json(publicFile((await obtain(c.env, 'finish_file', item, 'finished')).file))
  } catch (error) {
    await ask(c.env, 'abandon_file', begun.file)
    throw error
  }
}

async function begin(c: Call, caller: Caller) {
  const { file_bytes_max, account_file_bytes_max } = settingsOf(c.env)
  const announced = c.req.header('content-length')
  const bytes_max = announced === undefined ? file_bytes_max : Number(announced)
  if (bytes_max > file_bytes_max + FORM_BYTES_MAX)
    throw new ApiError('body_too_large', { message: `A file has at most ${file_bytes_max} bytes.` })
  const part_id = crypto.randomUUID()
  const room = { bytes_max, account_bytes_max: account_file_bytes_max }
  const item = { ...caller, created_by: c.get('request_id'), part_id, ...room }
  const { account_id, file_id } = await obtain(c.env, 'begin_file', item, 'begun')
  return { account_id, part_id, file: { account_id, file_id } }
}

function askedOf({ filename, fields: given }: Form) {
  const asked = checked({ ...Object.fromEntries(given), filename }, fields)
  const expires_after_s = asked['expires_after[seconds]'] ?? EXPIRES_AFTER_S
  return { filename: asked.filename, purpose: 'batch' as const, expires_after_s }
}

const listing = pageQuery({
  after: fileId.optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
  purpose: z.string().max(100).optional(),
})

export const listFiles = endpoint(
  {
    says: 'Lists the files, the newest first.',
    query: listing,
    answer: pages.pageOf(shown.file).extend({ first_id: z.string().nullable() }),
  },
  async (c, caller: Caller) => {
    const page = readQuery(c, listing)
    const account_id = await accountOf(c.env, { ...caller, scope: 'generate' })
    const rows = await rowsOf(c.env, 'list_files', { ...page, account_id })
    const data = rows.map((row) => publicFile({ ...publicRow(row), bytes: Number(row.bytes) }))
    return c.json({ ...pageOf(data, page.limit, ({ id }) => id), first_id: data[0]?.id ?? null })
  },
)

export const retrieveFile = endpoint({ says: 'Shows a file.', answer: shown.file }, async (c, caller: Caller) =>
  c.json(publicFile((await obtain(c.env, 'read_file', named(c, caller), 'allowed')).file)),
)

export const deleteFile = endpoint(
  { says: 'Deletes a file that no batch is reading.', answer: shown.fileDeleted },
  async (c, caller: Caller) => {
    const item = named(c, caller)
    await obtain(c.env, 'delete_file', item, 'deleted')
    return c.json({ id: `file-${item.file_id}`, object: 'file', deleted: true })
  },
)

export const readFileContent = endpoint(
  {
    says: 'The bytes of a file, or a range of them.',
    answer: null,
    statuses: [200, 206],
    also: { 'application/octet-stream': null },
  },
  async (c, caller: Caller) => {
    const item = { ...named(c, caller), with_parts: true as const }
    const { file, account_id, parts } = await obtain(c.env, 'read_file', item, 'allowed')
    const range = rangeIn(c.req.header('range'), file.bytes)
    const { begin, end } = range ?? { begin: 0, end: file.bytes }
    const bytes = bytesOf(partsOf(c.env), { account_id, parts: parts! }, { begin, end })
    return new Response(streamOf(bytes), {
      status: range ? 206 : 200,
      headers: {
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(file.filename).replace(/['()*]/g, '_')}`,
        'x-content-type-options': 'nosniff',
        'accept-ranges': 'bytes',
        ...(range && { 'content-range': `bytes ${begin}-${end - 1}/${file.bytes}` }),
      },
    })
  },
)

/** One range, as RFC 9110 writes it; null where all is asked for, or several at once. */
function rangeIn(header: string | undefined, bytes: number): { begin: number; end: number } | null {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return null
  if (first !== '' && last !== '' && Number(first) > Number(last)) return null
  const begin = first === '' ? Math.max(0, bytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? bytes : Math.min(bytes, Number(last) + 1)
  if (begin >= end) throw new ApiError('range_not_satisfiable', { headers: { 'content-range': `bytes */${bytes}` } })
  return { begin, end }
}

function named(c: Call, caller: Caller) {
  return { ...caller, file_id: pathId(c, 'id', fileId) }
}

type Kept = Extract<Answer<'read_file'>, { decision: 'allowed' }>['file']

function publicFile({ id, bytes, created_at, expires_at, filename, purpose }: Kept): z.infer<typeof shown.file> {
  return {
    object: 'file',
    id: `file-${id}`,
    bytes,
    created_at: unixSeconds(created_at),
    expires_at: unixSeconds(expires_at),
    filename,
    purpose,
    status: 'processed',
    status_details: null,
  }
}
