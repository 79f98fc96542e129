// Requests drawn from the document of the API: paths, queries and bodies by their schemas, with values that were answered before; then,
// mostly, spoiled: a value of another kind, too large or too deep, a field too many or too few, bytes that are no JSON.

import fc from 'fast-check'
import { noisyText, type Random, randomText } from './random.ts'

interface Schema {
  $ref?: string
  type?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  oneOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  minItems?: number
  maxItems?: number
  minimum?: number
  maximum?: number
  pattern?: string
}

interface Operation {
  parameters?: { name: string; in: string; schema: Schema }[]
  requestBody?: { content: Record<string, { schema: Schema }> }
}

export interface ApiDocument {
  paths: Record<string, Record<string, Operation>>
}

export interface DrawnRequest {
  method: string
  path: string
  headers: Record<string, string>
  body: Buffer | null
}

/** What fields of these names hold where a request is to come far: ids and names that exist. */
export type Known = Record<string, readonly unknown[]>

const DEPTH_MAX = 6
const OPTIONAL_FIELDS = 2 // of an object, about
const ODD_NUMBERS = [0, -1, 1, 1.5, 1e308, -1e308, 2 ** 31, 2 ** 53, 2 ** 63, -(2 ** 63), 1e-320]
const ODD_TEXTS = [
  '',
  ' ',
  '0',
  '-1',
  'null',
  '__proto__',
  'NaN',
  '\u0000',
  '\ud800',
  '%00',
  '../..',
  "'; select 1 --",
  '1e999',
]
const LONG_TEXTS = ['x'.repeat(5000), '9'.repeat(400), '你'.repeat(70_000)]
const ODD_THINGS = [
  null,
  true,
  false,
  [],
  {},
  [[]],
  [null],
  [{}],
  { constructor: 1 },
  JSON.parse('{"__proto__": {"x": 1}}'),
]
const METHODS = ['GET', 'POST', 'PATCH', 'DELETE', 'PUT', 'HEAD', 'OPTIONS']
const CONTENT_TYPES = [
  'application/json',
  'application/json; charset=utf-16',
  'text/plain',
  'multipart/form-data',
  '',
  'a'.repeat(300),
]

export class RequestDrawer {
  readonly #document: ApiDocument
  readonly #random: Random
  readonly #operations: { method: string; path: string; operation: Operation }[]
  readonly #matching = new Map<string, string[]>()
  readonly #known: Known
  readonly #spoiled_share: number

  constructor(document: ApiDocument, random: Random, known: Known, spoiled_share = 0.7) {
    this.#document = document
    this.#random = random
    this.#known = known
    this.#spoiled_share = spoiled_share
    this.#operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
    )
  }

  draw(): DrawnRequest {
    const random = this.#random
    const { method, path, operation } = random.pick(this.#operations)
    const schema = operation.requestBody?.content['application/json']?.schema
    return {
      method: random.chance(0.97) ? method : random.pick(METHODS),
      path: this.#path(path, operation) + this.#query(operation),
      headers: this.#headers(operation),
      body: schema ? this.#body(schema) : random.chance(0.03) ? Buffer.from(this.#oddText()) : null,
    }
  }

  /** For each operation that takes JSON: what it may be given, nothing of it spoiled. */
  unspoiled(): { method: string; path: string; body: unknown }[] {
    return this.#operations.flatMap(({ method, path, operation }) => {
      const schema = operation.requestBody?.content['application/json']?.schema
      return schema ? [{ method, path: this.#path(path, operation), body: this.#value(schema, 0) }] : []
    })
  }

  #path(path: string, operation: Operation): string {
    const schemas = new Map(operation.parameters?.map(({ name, schema }) => [name, schema]))
    const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
      encodeURIComponent(wellFormed(String(this.#valueOf(name, schemas.get(name) ?? {})))),
    )
    if (this.#random.chance(0.97)) return filled
    return filled.replace(/[^/]+$/, (end) =>
      this.#random.pick([`${end}/`, `/${end}`, `${end}%`, `${end}%ff`, end.toUpperCase(), '..', '']),
    )
  }

  #query({ parameters = [] }: Operation): string {
    const pairs = parameters
      .filter(({ in: where }) => where === 'query' && this.#random.chance(0.3))
      .flatMap(({ name, schema }) => {
        const value = encodeURIComponent(wellFormed(String(this.#valueOf(name, schema))))
        return this.#random.chance(0.03) ? [`${name}=${value}`, `${name}=1`] : [`${name}=${value}`]
      })
    if (this.#random.chance(0.02)) pairs.push(`${encodeURIComponent(wellFormed(this.#oddText()))}=1`)
    return pairs.length > 0 ? `?${pairs.join('&')}` : ''
  }

  #headers({ parameters = [] }: Operation): Record<string, string> {
    const random = this.#random
    const headers: Record<string, string> = { 'content-type': 'application/json' }
    if (random.chance(0.03)) headers['content-type'] = random.pick(CONTENT_TYPES)
    if (random.chance(0.02)) headers['content-encoding'] = random.pick(['gzip', 'br', 'none', 'identity'])
    if (random.chance(0.05)) headers.origin = random.pick(['null', 'https://page.example', 'x'])
    if (random.chance(0.05)) headers.accept = random.pick(['*/*', 'text/html', 'text/csv', 'application/xml', ';q=2'])
    for (const { name, in: where } of parameters)
      if (where === 'header' && random.chance(0.2))
        headers[name] = headerText(random.chance(0.5) ? `key-${random.below(20)}` : this.#oddText())
    return headers
  }

  #body(schema: Schema): Buffer | null {
    const random = this.#random
    if (random.chance(0.01)) return null
    let value = this.#value(schema, 0)
    const is_spoiled = random.chance(this.#spoiled_share)
    for (let spoils = is_spoiled ? 1 + random.below(3) : 0; spoils > 0; spoils -= 1) value = this.#spoiled(value)
    const text = JSON.stringify(value) ?? ''
    return is_spoiled && random.chance(0.2) ? this.#damaged(Buffer.from(text)) : Buffer.from(text)
  }

  #valueOf(name: string, schema: Schema, depth = 0): unknown {
    const known = this.#known[name]
    if (known && known.length > 0 && this.#random.chance(0.85)) return this.#random.pick(known)
    return this.#value(schema, depth)
  }

  #value(schema: Schema, depth: number): unknown {
    if (schema.$ref) return this.#value(this.#at(schema.$ref), depth)
    if ('const' in schema) return schema.const
    if (schema.enum) return this.#random.pick(schema.enum)
    const forms = schema.anyOf ?? schema.oneOf
    if (forms) return this.#value(this.#random.pick(forms), depth + 1)
    switch (schema.type) {
      case 'object':
        return this.#object(schema, depth)
      case 'array':
        return this.#array(schema, depth)
      case 'string':
        return this.#text(schema)
      case 'integer':
        return Math.round(this.#number(schema))
      case 'number':
        return this.#number(schema)
      case 'boolean':
        return this.#random.chance(0.5)
      case 'null':
        return null
      default:
        return this.#oddValue()
    }
  }

  #at(ref: string): Schema {
    const keys = ref.slice(2).split('/')
    return keys.reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], this.#document) as Schema
  }

  #object({ properties = {}, required = [] }: Schema, depth: number): object {
    const is_bare = depth > DEPTH_MAX || this.#random.chance(0.4)
    const chance = is_bare ? 0 : Math.min(0.3, OPTIONAL_FIELDS / Object.keys(properties).length)
    const kept = Object.entries(properties).filter(([name]) => required.includes(name) || this.#random.chance(chance))
    return Object.fromEntries(kept.map(([name, schema]) => [name, this.#valueOf(name, schema, depth + 1)]))
  }

  #array({ items = {}, minItems = 0, maxItems = 4 }: Schema, depth: number): unknown[] {
    const more = depth > DEPTH_MAX ? 0 : this.#random.below(Math.min(maxItems - minItems, 4) + 1)
    return Array.from({ length: minItems + more }, () => this.#value(items, depth + 1))
  }

  #text({ pattern }: Schema): string {
    if (!pattern || this.#random.chance(0.1))
      return this.#random.chance(0.5) ? randomText(this.#random) : this.#oddText()
    return this.#random.pick(this.#textsOf(pattern))
  }

  /** Some that match, made once for each pattern; none of its own where it looks around. */
  #textsOf(pattern: string): string[] {
    const known = this.#matching.get(pattern)
    if (known) return known
    let texts: string[]
    try {
      texts = fc.sample(fc.stringMatching(new RegExp(pattern)), { seed: this.#random.seed, numRuns: 20 })
    } catch {
      texts = [randomText(this.#random)]
    }
    this.#matching.set(pattern, texts)
    return texts
  }

  #number({ minimum = -1000, maximum = 1000 }: Schema): number {
    if (this.#random.chance(0.2)) return this.#random.pick([minimum, maximum])
    const span = Math.min(maximum - minimum, 1000)
    return minimum + this.#random.below(span + 1)
  }

  #oddText(): string {
    return this.#random.chance(0.5)
      ? noisyText(this.#random)
      : this.#random.pick(this.#random.chance(0.9) ? ODD_TEXTS : LONG_TEXTS)
  }

  #oddValue(): unknown {
    const random = this.#random
    if (random.chance(0.02)) return nested(random.pick([50, 3000]), random.chance(0.5))
    if (random.chance(0.02))
      return Array.from({ length: random.pick([100, 20_000]) }, () => random.pick([1, 'a', null]))
    return random.pick([() => random.pick(ODD_NUMBERS), () => this.#oddText(), () => random.pick(ODD_THINGS)])()
  }

  /** The value with one change, somewhere in it. */
  #spoiled(value: unknown): unknown {
    const random = this.#random
    if (value === null || typeof value !== 'object' || random.chance(0.05)) return this.#oddValue()
    const entries = Object.entries(value)
    const place = random.below(entries.length)
    const change = entries.length === 0 ? 'more' : random.pick(['more', 'fewer', ...Array(8).fill('other')])
    if (change === 'more') entries.push([random.chance(0.5) ? this.#oddText() : 'unknown', this.#oddValue()])
    else if (change === 'fewer') entries.splice(place, 1)
    else entries[place]![1] = random.chance(0.5) ? this.#spoiled(entries[place]![1]) : this.#oddValue()
    return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries)
  }

  /** The bytes with some cut out, changed, doubled or added. */
  #damaged(bytes: Buffer): Buffer {
    const random = this.#random
    const at = random.below(bytes.length + 1)
    const some = Buffer.from(Array.from({ length: 1 + random.below(8) }, () => random.below(256)))
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
    return random.pick([
      () => head,
      () => tail,
      () => Buffer.concat([head, some, tail]),
      () => Buffer.concat([head, some, tail.subarray(some.length)]),
      () => Buffer.concat([bytes, bytes]),
      () => Buffer.concat([Buffer.from('\ufeff'), bytes]),
      () => Buffer.from(bytes.toString(), 'utf16le'),
      () => some,
    ])()
  }
}

function nested(depth: number, as_object: boolean): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i += 1) value = as_object ? { a: value } : [value]
  return value
}

/** A URL holds no half of a surrogate pair. */
function wellFormed(text: string): string {
  return text.slice(0, 3000).toWellFormed()
}

/** HTTP's own parsers let nothing else through. */
function headerText(text: string): string {
  return text.slice(0, 2000).replace(/[^\t\x20-\x7e\x80-\xff]/g, '?')
}
