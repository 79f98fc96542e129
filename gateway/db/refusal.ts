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
  account_suspended: 'account_suspended',
  exceeds_own_key: 'exceeds_own_key',
  limits_are_shared: 'limits_are_shared',
  too_many_keys: 'too_many_keys',
  too_many_jobs: 'too_many_jobs',
  too_many_webhook_endpoints: 'too_many_webhook_endpoints',
  webhook_endpoint_disabled: 'webhook_endpoint_disabled',
  too_many_batches: 'too_many_batches',
  unknown_file: 'unknown_file',
  batch_has_ended: 'batch_has_ended',
  too_many_files: 'too_many_files',
  too_many_uploads: 'too_many_uploads',
  no_room_for_file: 'no_room_for_file',
  file_in_use: 'file_in_use',
  file_closed: 'file_lost',
  already_revoked: 'already_revoked',
  rotation_running: 'rotation_running',
  name_taken: 'name_taken',
  reverse_charge_needs_tax_id: 'reverse_charge_needs_tax_id',
  incomplete_seller: 'incomplete_seller',
  overdraft_in_use: 'overdraft_in_use',
  customer_taken: 'customer_taken',
  unknown_account: 'not_found',
  model_not_allowed: 'model_not_allowed',
  no_price: 'model_unavailable',
  no_flex_price: 'flex_not_offered',
  no_node: 'model_unavailable',
  not_verified: 'not_verified',
  insufficient_quota: 'insufficient_quota',
  requests_per_minute: 'rate_limit_requests',
  tokens_per_minute: 'rate_limit_tokens',
  requests_in_flight: 'rate_limit_in_flight',
  request_too_large: 'request_too_large',
  spend_cap_reached: 'spend_cap_reached',
  not_found: 'not_found',
  locked: 'database_unavailable', // by an operator: what is asked again later is answered
  unknown_node: 'unknown_node',
  unknown_node_key: 'unknown_node_key',
  other_node_url: 'other_node_url',
  other_node_model: 'other_node_model',
  stale_report: 'stale_report',
  repeated_report: 'repeated_report',
  second_process: 'second_process',
  node_exists: 'node_exists',
  key_taken: 'key_taken',
  closed: 'internal_error', // the id of this request was given to another one before
} satisfies Partial<Record<Decision<FunctionName>, ErrorCode>>

export type Refusal = keyof typeof codes

const params: Partial<Record<Refusal, string>> = {
  unknown_account: 'account_id',
  no_flex_price: 'service_tier',
  unknown_file: 'input_file_id',
  not_verified: 'verify.language',
}

interface Refused {
  decision: Refusal
  param?: string
  limits?: Limits | undefined
  quota?: Quota
}

export function refusalOf({ decision, param, limits, quota }: Refused): ApiError {
  return new ApiError(codes[decision], {
    param: param ?? params[decision] ?? null,
    headers: headersOf(limits),
    ...(quota && { message: quotaMessage(quota) }),
  })
}

function headersOf(limits: Limits = {}): Record<string, string> {
  return { ...limitHeaders(limits), ...(limits.retry_us && retryHeaders(limits.retry_us)) }
}
