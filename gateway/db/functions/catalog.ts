// The catalog of models.

import * as z from 'zod'
import * as shown from '../../../contract/public/catalog.ts'
import { by } from './asker.ts'

const version = shown.catalog.omit({ object: true }).shape

export const read_catalog = {
  item: z.strictObject({ known: z.int().nullable() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('published'), ...version }),
    z.strictObject({ decision: z.enum(['unchanged', 'unpublished']) }),
  ]),
}

export const publish_catalog = {
  item: z.strictObject({
    operator: z.literal(true).optional(),
    by: by.optional(),
    source: shown.catalogSource,
    models: z.array(shown.catalogModel),
  }),
  answer: z.strictObject({
    decision: z.enum(['published', 'kept']), // kept: an operator's, in whose place none of a release is put
    ...version,
  }),
}
