// GET /.well-known/receipt-keys.json: the public keys that receipts are and were signed with, for anybody (a JWK Set).

import { sign } from '../../../contract/internal/ticket.ts'
import { type ReceiptKey, type ReceiptSigner, receiptSigner } from '../../../contract/public/receipt.ts'
import { askTeller, type Decided } from '../../db/ask.ts'
import type { Call, Env } from '../../env.ts'

// The database ends a key's time two hours after it was last noted (migrations/api/receipt-keys.sql).
const NOTE_EVERY_MS = 3_600_000
const SHARD = 'receipt-keys'

let signer: Promise<ReceiptSigner> | null = null
let noted_ms = -Infinity

/** By the deployment's own key; without one by a key that follows from the operator's. It is written down before it signs. */
export async function receiptSignerOf(env: Env): Promise<ReceiptSigner> {
  signer ??= Promise.resolve(env.RECEIPT_SEED ?? sign('receipts', env.ADMIN_KEY)).then(receiptSigner)
  const own = await signer
  const now_ms = Date.now()
  if (now_ms - noted_ms >= NOTE_EVERY_MS) {
    const { kid, x } = own.key
    await askTeller(env, 'note_receipt_key', { shard_by: SHARD, items: [{ kid, x }] })
    noted_ms = now_ms
  }
  return own
}

export async function receiptKeys(c: Call): Promise<Response> {
  const { key: own } = await receiptSignerOf(c.env)
  const [answer] = await askTeller<Decided & { keys: KnownKey[] }>(c.env, 'list_receipt_keys', {
    shard_by: SHARD,
    items: [{}],
  })
  const keys = answer!.keys.map((known): ReceiptKey => ({ ...own, ...known }))
  return c.json({ keys }, 200, { 'cache-control': 'public, max-age=3600' })
}

type KnownKey = Pick<ReceiptKey, 'kid' | 'x' | 'nbf' | 'exp'>
