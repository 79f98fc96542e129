// LoRA adapters, as an operator makes them known.

import * as z from 'zod'
import * as shown from '../../../contract/public/adapter.ts'
import { id } from '../../../contract/public/scalar.ts'
import { operator } from './asker.ts'

const adapter = shown.adapter.omit({ object: true })

/** Who changes it; `npm start`, which makes its own known, is nobody. */
const asking = z.object(operator).partial().shape

export const create_adapter = {
  item: z.strictObject({ ...asking, id: z.string(), base: z.string(), account_id: id.nullable() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), adapter }),
    z.strictObject({ decision: z.enum(['adapter_exists', 'unknown_account']) }),
  ]),
}

export const remove_adapter = {
  item: z.strictObject({ ...asking, id: z.string() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('removed'), adapter }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

export const read_adapters = {
  item: z.strictObject(asking),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('read'), adapters: z.array(adapter) }),
  ]),
}
