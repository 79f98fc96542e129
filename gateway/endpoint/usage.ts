// One request as a signed receipt: what it used and cost, with its lines of the ledger.

import type { RequestUsage } from '../../contract/public/usage.ts'
import type { Asker } from '../auth/authenticate.ts'
import { obtain } from '../db/ask.ts'
import type { Call } from '../env.ts'
import { pathId, requestId } from '../field/id.ts'
import { receiptSignerOf } from './receipt-signer.ts'

export async function receiptOf(c: Call, asker: Asker): Promise<Response> {
  const item = { ...asker, request_id: pathId(c, 'request_id', requestId) }
  const { usage } = await obtain(c.env, 'read_usage', item, 'allowed')
  const signer = await receiptSignerOf(c.env)
  return c.json(await signer.sign({ ...publicUsage(usage), signed_unix_s: Math.floor(Date.now() / 1000) }))
}

export function publicUsage(usage: Omit<RequestUsage, 'object'>): RequestUsage {
  return { object: 'usage', ...usage }
}
