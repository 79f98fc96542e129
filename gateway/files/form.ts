// A form with a file (multipart/form-data, RFC 7578), read as it comes in: the file's bytes are handed on piece by piece, everything else of
// it is small. What is not such a form is refused by what is wrong with it.

import { make as searchFor } from 'multipasta/Search'
import { ApiError } from '../error.ts'

const HEAD_BYTES_MAX = 8192
const FIELD_BYTES_MAX = 1000
const PARTS_MAX = 20

export interface Form {
  filename: string
  /** All other fields, by their names. */
  fields: Map<string, string>
}

export interface FormFile {
  bytes_max: number
  take: (bytes: Uint8Array) => Promise<void>
}

export async function readForm({ body, headers }: Request, file: FormFile): Promise<Form> {
  const reading = new FormReading(file)
  const found: [part: number, bytes: Uint8Array][] = []
  const search = searchFor(`\r\n--${boundaryIn(headers.get('content-type') ?? '')}`, (part, bytes) => {
    found.push([part, bytes])
  })
  search.write(new Uint8Array([13, 10])) // as if a line had ended before the first boundary
  for await (const bytes of piecesOf(body)) {
    search.write(bytes)
    for (const [part, piece] of found.splice(0)) await reading.take(part, piece)
  }
  search.end()
  for (const [part, piece] of found) await reading.take(part, piece)
  return reading.end()
}

function boundaryIn(type: string): string {
  if (!/^multipart\/form-data\s*;/i.test(type)) throw new ApiError('not_a_form')
  const [, quoted, plain] = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i.exec(type) ?? []
  const boundary = quoted ?? plain
  if (boundary === undefined) throw invalid('its content-type has no boundary of 1 to 70 characters')
  return boundary
}

// The stream is left as it is when reading ends early: whoever refuses the form reads on for a while (field/read-body.ts).
async function* piecesOf(body: Request['body']): AsyncGenerator<Uint8Array> {
  const reader = body?.getReader()
  try {
    while (reader) {
      const { done, value } = await reader.read().catch(() => {
        throw new ApiError('client_gone')
      })
      if (done) return
      yield value
    }
  } finally {
    reader?.releaseLock()
  }
}

interface Part {
  name: string
  is_file: boolean
  bytes: number
  /** Of a field; a file's are handed on. */
  text: Uint8Array[]
}

class FormReading {
  readonly #file: FormFile
  readonly #form: Form = { filename: '', fields: new Map() }
  #has_file = false
  /** The part that bytes are of; 0 is what comes before the first boundary. */
  #number = 0
  /** What came of a part whose head is not whole yet. */
  #head: Uint8Array = new Uint8Array()
  #part: Part | null = null
  #is_over = false

  constructor(file: FormFile) {
    this.#file = file
  }

  async take(number: number, bytes: Uint8Array): Promise<void> {
    if (this.#is_over) return // what follows the form is nobody's
    if (number === 0) throw invalid('it does not begin with its boundary')
    if (number > this.#number) this.#begin(number)
    if (this.#part) return this.#content(this.#part, bytes)
    const head = joined([this.#head, bytes])
    const end = endOfHead(head)
    if (end === 'closing') this.#is_over = true
    else if (end !== null) await this.#open(head, end)
    else if (head.length > HEAD_BYTES_MAX) throw invalid('the headers of a part are too long')
    else this.#head = head
  }

  end(): Form {
    if (!this.#is_over) throw invalid('its closing boundary is missing')
    if (!this.#has_file) throw new ApiError('missing_required_parameter', { param: 'file' })
    return this.#form
  }

  #begin(number: number): void {
    if (number > PARTS_MAX) throw invalid(`it has more than ${PARTS_MAX} parts`)
    if (number > this.#number + 1 || (this.#number > 0 && !this.#part)) throw invalid('a part of it has no headers')
    this.#close()
    this.#number = number
    this.#head = new Uint8Array()
    this.#part = null
  }

  #close(): void {
    if (!this.#part || this.#part.is_file) return
    this.#form.fields.set(this.#part.name, utf8(joined(this.#part.text)))
  }

  async #open(head: Uint8Array, end: number): Promise<void> {
    if (end > HEAD_BYTES_MAX) throw invalid('the headers of a part are too long')
    const { name, filename } = dispositionIn(utf8(head.subarray(2, end)))
    const is_file = filename !== null
    if (is_file !== (name === 'file')) throw wrongField(name)
    if (is_file ? this.#has_file : this.#form.fields.has(name)) throw invalid(`'${shown(name)}' comes twice`)
    if (is_file) this.#form.filename = filename
    this.#has_file ||= is_file
    this.#part = { name, is_file, bytes: 0, text: [] }
    await this.#content(this.#part, head.subarray(end + 4))
  }

  async #content(part: Part, bytes: Uint8Array): Promise<void> {
    part.bytes += bytes.length
    if (!part.is_file) {
      if (part.bytes > FIELD_BYTES_MAX)
        throw new ApiError('invalid_value', { param: shown(part.name), message: 'A field of the form is too long.' })
      part.text.push(bytes)
    } else if (part.bytes > this.#file.bytes_max) {
      throw new ApiError('body_too_large', { message: `The file is larger than ${this.#file.bytes_max} bytes.` })
    } else if (bytes.length > 0) {
      await this.#file.take(bytes)
    }
  }
}

/** Where the headers of a part end; whether there are none, and no part, because the form is over. */
function endOfHead(head: Uint8Array): number | 'closing' | null {
  if (head.length < 2) return null
  if (head[0] === 45 && head[1] === 45) return 'closing'
  if (head[0] !== 13 || head[1] !== 10) throw invalid('a boundary of it is followed by something else than a line')
  for (let at = 0; at + 3 < head.length; at += 1)
    if (head[at] === 13 && head[at + 1] === 10 && head[at + 2] === 13 && head[at + 3] === 10) return at
  return null
}

function dispositionIn(headers: string): { name: string; filename: string | null } {
  if (/^content-transfer-encoding:\s*(?!7bit|8bit|binary)/im.test(headers))
    throw invalid('a part has a content-transfer-encoding')
  const [, disposition] = /^content-disposition:\s*form-data\s*((?:;.*)?)$/im.exec(headers) ?? []
  if (disposition === undefined) throw invalid('a part has no content-disposition of form-data')
  const name = parameterIn(disposition, 'name')
  if (name === null) throw invalid('a part has no name')
  return { name, filename: encodedNameIn(disposition) ?? parameterIn(disposition, 'filename') }
}

// As browsers and clients write it: quotes and ends of lines in it are percent-encoded, or have a backslash before them.
function parameterIn(disposition: string, name: string): string | null {
  const [, quoted, plain] =
    new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, 'i').exec(disposition) ?? []
  return quoted?.replace(/\\(.)/g, '$1') ?? plain ?? null
}

function encodedNameIn(disposition: string): string | null {
  const [, encoded] = /;\s*filename\*=utf-8''([^\s;]+)/i.exec(disposition) ?? []
  try {
    return encoded === undefined ? null : decodeURIComponent(encoded)
  } catch {
    throw invalid("the 'filename*' of a part is not encoded as it has to be")
  }
}

function wrongField(name: string): ApiError {
  if (name === 'file')
    return new ApiError('invalid_value', { param: 'file', message: "'file' has to be a file, with a filename." })
  return new ApiError('unknown_parameter', { param: shown(name), message: `'${shown(name)}' cannot be a file.` })
}

function invalid(what: string): ApiError {
  return new ApiError('invalid_form', { message: `The form cannot be read: ${what}.` })
}

function shown(name: string): string {
  return name.slice(0, 100).toWellFormed()
}

function joined(pieces: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw invalid('a header or a field of it is not UTF-8')
  }
}
