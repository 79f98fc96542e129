// The public keys that receipts are and were signed with.

import * as z from 'zod'
import { receiptKey } from '../../../contract/public/receipt-key.ts'
import { count } from '../../../contract/public/scalar.ts'

export const note_receipt_key = {
  item: z.strictObject({ kid: z.string(), x: z.string() }),
  answer: z.strictObject({ decision: z.literal('noted') }),
}

const known = receiptKey.pick({ kid: true, x: true }).extend({ nbf: count, exp: count.exactOptional() })

export const list_receipt_keys = {
  item: z.strictObject({}),
  answer: z.strictObject({ decision: z.literal('allowed'), keys: z.array(known) }),
}
