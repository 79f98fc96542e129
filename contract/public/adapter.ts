// A LoRA adapter as an operator sees it: a name by which a model can be asked that is changed by it.

import * as z from 'zod'
import { id, moment } from './scalar.ts'

export const adapter = z.strictObject({
  object: z.literal('adapter'),
  id: z.string(),
  base: z.string(), // the model
  account_id: id.nullable(), // whose alone it is; null: everybody's
  created_at: moment,
})

export type Adapter = z.infer<typeof adapter>
