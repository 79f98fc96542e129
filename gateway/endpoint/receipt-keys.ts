// GET /.well-known/receipt-keys.json: the public key that receipts are signed with, for anybody (a JWK Set).

import { type ReceiptSigner, receiptSigner } from '../../contract/receipt.ts'
import { sign } from '../../contract/ticket.ts'
import type { Call, Env } from '../env.ts'

let signer: Promise<ReceiptSigner> | null = null

/** By the deployment's own key; without one by a key that follows from the operator's. */
export function receiptSignerOf(env: Env): Promise<ReceiptSigner> {
  signer ??= Promise.resolve(env.RECEIPT_SEED ?? sign('receipts', env.ADMIN_KEY)).then(receiptSigner)
  return signer
}

export async function receiptKeys(c: Call): Promise<Response> {
  const { key } = await receiptSignerOf(c.env)
  return c.json({ keys: [key] }, 200, { 'cache-control': 'public, max-age=3600' })
}
