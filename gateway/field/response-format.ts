// What the text of an answer must be: any, a JSON object, JSON that follows a schema, or what a regular expression or a grammar
// reads. Only the form is checked here; what of a schema can be held the model's node says.

import * as z from 'zod'
import { CONSTRAINT_LENGTH_MAX, type TextConstraint } from '../../contract/internal/generation.ts'
import { text } from '../../contract/public/text.ts'

const written = text.min(1).max(CONSTRAINT_LENGTH_MAX)

export const answerSchema = z
  .record(z.string(), z.unknown())
  .refine((value) => JSON.stringify(value).length <= CONSTRAINT_LENGTH_MAX, {
    error: `expected a schema of at most ${CONSTRAINT_LENGTH_MAX} characters`,
  })

export const namedSchema = z.strictObject({
  name: z.string().regex(/^[\w-]{1,64}$/, 'expected up to 64 letters, digits, _ and -'),
  description: z.string().nullish(),
  schema: answerSchema.nullish(),
  strict: z.boolean().nullish(), // a schema is held in any case
})

export const responseFormat = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('text') }),
    z.strictObject({ type: z.literal('json_object') }),
    z.strictObject({ type: z.literal('json_schema'), json_schema: namedSchema }),
    z.strictObject({ type: z.literal('regex'), pattern: written }),
    z.strictObject({ type: z.literal('grammar'), grammar: written }),
  ],
  { error: "expected a 'type' of text, json_object, json_schema, regex or grammar" },
)

export type ResponseFormat = z.infer<typeof responseFormat>

/** Null where any text will do. */
export function textConstraint(format: ResponseFormat | null | undefined): TextConstraint | null {
  switch (format?.type) {
    case 'json_object':
      return { kind: 'json' }
    case 'json_schema':
      return { kind: 'json_schema', schema: format.json_schema.schema ?? {} }
    case 'regex':
      return { kind: 'regex', regex: format.pattern }
    case 'grammar':
      return { kind: 'grammar', grammar: format.grammar }
    default:
      return null
  }
}
