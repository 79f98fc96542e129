// GET /.well-known/receipt-keys.json: the public keys that receipts are and were signed with, for anybody (a JWK Set).

import type { ReceiptKey } from '../../../contract/public/receipt.ts'
import { askTeller, type Decided } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { receiptSignerOf, SHARD } from '../receipt-signer.ts'

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
