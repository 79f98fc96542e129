// One request as a signed receipt: what it used and cost, with its lines of the ledger.

import type { Asker } from '../auth/authenticate.ts'
import { ask } from '../billing/ledger.ts'
import type { Call } from '../env.ts'
import { pathId, requestId } from '../field/id.ts'
import { receiptSignerOf } from './receipt-signer.ts'

export interface Usage {
  request_id: string
}

export async function receipt(c: Call, asker: Asker): Promise<Response> {
  const item = { ...asker, request_id: pathId(c, 'request_id', requestId) }
  const { usage } = await ask<{ usage: Usage }>(c.env, 'read_usage', item)
  const signer = await receiptSignerOf(c.env)
  return c.json(await signer.sign({ ...publicUsage(usage), signed_unix_s: Math.floor(Date.now() / 1000) }))
}

export function publicUsage(usage: Usage) {
  return { object: 'usage', ...usage }
}
