// Fields that are taken and not used. What could change an answer is refused by name; what cannot is named in a header of the answer, so
// that nobody has to believe in a field that does nothing.

import * as z from 'zod'

const hints = new WeakSet<z.ZodType>()

/** A field that cannot change an answer: taken, and named as not used. Where values are given, any other is refused by name. */
export function hint(...taken: unknown[]) {
  const known = new Set(taken.map((value) => JSON.stringify(value)))
  return hintWhere((value) => taken.length === 0 || known.has(JSON.stringify(value)))
}

/** Such a field with the values that are taken. */
export function hintWhere(isTaken: (value: unknown) => boolean) {
  const schema = z
    .unknown()
    .refine((value) => value == null || isTaken(value), { params: { code: 'unsupported_parameter' } })
    .describe('Taken, but not used: it cannot change an answer here.')
    .optional()
  hints.add(schema)
  return schema
}

/**
 * A field of OpenAI's that is not supported: refused by name, except where its value asks for nothing (null, or what its
 * default is), which clients send freely.
 */
export function unsupported(...asks_for_nothing: unknown[]) {
  const harmless = new Set<string | undefined>(
    [null, undefined, ...asks_for_nothing].map((value) => JSON.stringify(value)),
  )
  return z
    .unknown()
    .refine((value) => harmless.has(JSON.stringify(value)), { params: { code: 'unsupported_parameter' } })
    .describe('Not supported: refused, except where it asks for nothing.')
    .optional()
}

const EMPTY = new Set(['null', 'false', '""', '[]', '{}'])

/** The value of a field that nobody here knows: an empty one asks for nothing, any other is refused by name. */
export function askingNothing() {
  return z
    .unknown()
    .refine((value) => EMPTY.has(JSON.stringify(value)), { params: { code: 'unknown_parameter' } })
    .describe('Unknown: refused, except where it is null, false or empty.')
}

/** Of the types of a union alone; another is refused by its name. `what`: "a block". */
export function ofTypes(what: string) {
  return {
    error: ({ input }: { input?: unknown }) => {
      const type = (input as { type?: unknown } | null)?.type
      return typeof type === 'string' ? `no ${type}` : `expected ${what} with a 'type'`
    },
  }
}

/** The names of the fields that were given and are not used, each after `at`: "messages[1]." */
export function unusedIn(given: object, schema: z.ZodObject, at = ''): string[] {
  return Object.entries(given)
    .filter(([name, value]) => {
      const field = Object.hasOwn(schema.shape, name) ? (schema.shape[name] as z.ZodType) : null
      return field === null || (hints.has(field) && value !== null)
    })
    .map(([name]) => at + name)
}

const NAMES_MAX = 32
const NAME_LENGTH_MAX = 64

/** Names as a header can carry them, the first of many. */
export function unusedHeader(names: string[]): Record<string, string> {
  if (names.length === 0) return {}
  const shown = names.slice(0, NAMES_MAX).map((name) => name.slice(0, NAME_LENGTH_MAX).replace(/[^\w.[\]-]/g, '?'))
  return { 'x-ignored-parameters': shown.join(', ') + (names.length > NAMES_MAX ? ', ...' : '') }
}
