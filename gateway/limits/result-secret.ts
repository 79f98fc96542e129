// The secret that a result is sealed with, so that only the caller's own Idempotency-Key opens it again.

import { hmac } from '../../contract/hmac.ts'
import type { RepeatableCall } from './repeatable-call.ts'

/** Derived from the caller's Idempotency-Key, which is stored nowhere. */
export const secretOf =
  ({ endpoint, idempotency_key }: RepeatableCall, account_id: string) =>
  (data_secret: string): Promise<string> =>
    hmac(`idempotency of ${account_id}, ${endpoint}: ${idempotency_key}`, data_secret)
