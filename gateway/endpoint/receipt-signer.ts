// Signs receipts: by a key of their own, without one by a key that follows from the secret of data at rest. It is written down before it signs.

import { hmac } from '../../contract/hmac.ts'
import { type ReceiptSigner, receiptSigner } from '../../contract/public/receipt.ts'
import { ask } from '../db/ask.ts'
import { dataSecretOf, type Env } from '../env.ts'

// The database ends a key's time two hours after it was last noted (migrations/api/receipt-keys.sql).
const NOTE_EVERY_MS = 3_600_000

let signer: Promise<ReceiptSigner> | null = null
let noted_ms = -Infinity

export async function receiptSignerOf(env: Env): Promise<ReceiptSigner> {
  signer ??= Promise.resolve(env.RECEIPT_SEED ?? hmac('receipts', dataSecretOf(env))).then(receiptSigner)
  const own = await signer
  const now_ms = Date.now()
  if (now_ms - noted_ms >= NOTE_EVERY_MS) {
    const { kid, x } = own.key
    await ask(env, 'note_receipt_key', { kid, x })
    noted_ms = now_ms
  }
  return own
}
