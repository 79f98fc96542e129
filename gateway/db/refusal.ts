// What a refusing decision of the database is to a client: its code in the one table of errors. A decision without a row here
// refuses nothing that compiles.

import { ApiError, type ErrorCode } from '../error.ts'
import { type Limits, limitHeaders, retryHeaders } from '../limit-headers.ts'
import { type Quota, quotaMessage } from '../quota-message.ts'
import type { Decision, FunctionName } from './functions.ts'

const codes = {
  unknown_key: 'invalid_api_key',
  revoked_key: 'invalid_api_key',
  expired_key: 'invalid_api_key',
  missing_scope: 'missing_scope',
  address_not_allowed: 'address_not_allowed',
  exceeds_own_key: 'exceeds_own_key',
  limits_are_shared: 'limits_are_shared',
  too_many_keys: 'too_many_keys',
  already_revoked: 'already_revoked',
  rotation_running: 'rotation_running',
  overdraft_in_use: 'overdraft_in_use',
  customer_taken: 'customer_taken',
  unknown_account: 'not_found',
  model_not_allowed: 'model_not_allowed',
  no_price: 'model_unavailable',
  no_node: 'model_unavailable',
  insufficient_quota: 'insufficient_quota',
  requests_per_minute: 'rate_limit_requests',
  tokens_per_minute: 'rate_limit_tokens',
  requests_in_flight: 'rate_limit_in_flight',
  request_too_large: 'request_too_large',
  spend_cap_reached: 'spend_cap_reached',
  not_found: 'not_found',
  closed: 'internal_error', // the id of this request was given to another one before
} satisfies Partial<Record<Decision<FunctionName>, ErrorCode>>

export type Refusal = keyof typeof codes

interface Refused {
  decision: Refusal
  param?: string
  limits?: Limits | undefined
  quota?: Quota
}

export function refusalOf({ decision, param, limits, quota }: Refused): ApiError {
  return new ApiError(codes[decision], {
    param: param ?? (decision === 'unknown_account' ? 'account_id' : null),
    headers: headersOf(limits),
    ...(quota && { message: quotaMessage(quota) }),
  })
}

function headersOf(limits: Limits = {}): Record<string, string> {
  return { ...limitHeaders(limits), ...(limits.retry_us && retryHeaders(limits.retry_us)) }
}
