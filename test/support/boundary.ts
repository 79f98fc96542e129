// The boundary to the database, checked: every item that a test asks about and every answer it gets must be what
// gateway/db/functions.ts says they are.

import * as z from 'zod'
import * as schemas from '../../gateway/db/functions/schemas.ts'
import type { Answer, FunctionName } from '../../gateway/db/functions.ts'

type FieldOf<U> = U extends unknown ? keyof U : never
type ValueOf<U, F> = U extends unknown ? (F extends keyof U ? Exclude<U[F], undefined> : never) : never

/** An answer with the fields of all its decisions: a test knows by what it expects which are there. */
export type Told<N extends FunctionName> = { [F in FieldOf<Answer<N>>]: ValueOf<Answer<N>, F> }

const table: { [N in FunctionName]: { item: z.ZodType; answer: z.ZodType } } = { ...schemas }

/** The answers themselves, once they and their items are known to be as they should. */
export function checked<N extends FunctionName>(name: N, items: object[], answers: unknown[]): Told<N>[] {
  const { item, answer } = table[name]
  for (const asked of items) expectShape(item, asked, `an item of ${name}`)
  for (const told of answers) expectShape(answer, told, `an answer of ${name}`)
  return answers as Told<N>[]
}

function expectShape(schema: z.ZodType, value: unknown, what: string): void {
  const { error } = schema.safeParse(value)
  if (error)
    throw new Error(`${what} is not as functions.ts has it: ${JSON.stringify(value)}\n${z.prettifyError(error)}`)
}
