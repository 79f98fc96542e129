// GET /.well-known/receipt-keys.json: the public keys that receipts are and were signed with, for anybody (a JWK Set).

import { type ReceiptKey, receiptKeySet } from '../../../contract/public/receipt-key.ts'
import { ask } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { receiptSignerOf } from '../receipt-signer.ts'

export const receiptKeys = endpoint(
  { says: 'Lists the public keys that receipts are and were signed with (a JWK Set).', answer: receiptKeySet },
  async (c) => {
    const { key: own } = await receiptSignerOf(c.env)
    const { keys: known } = await ask(c.env, 'list_receipt_keys', {})
    const keys = known.map((key): ReceiptKey => ({ ...own, ...key }))
    return c.json({ keys }, 200, { 'cache-control': 'public, max-age=3600' })
  },
)
