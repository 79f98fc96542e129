// Every way a request can be refused: one table from code to status, type and text, and the one exception that carries it.
// The texts are ours, written here or where they are thrown; what an exception of the runtime says is never sent.

import type { ErrorBody, ErrorType } from '../contract/public/error.ts'
import type { MessageError, MessageErrorType } from '../contract/public/messages.ts'

interface Refusal {
  status: 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 416 | 422 | 429 | 499 | 500 | 503
  /** Where it is not that of a request that is wrong in itself. */
  type?: ErrorType
  /** The code that the client is told, where it is not the name itself. */
  code?: string
  message: string
  /** The client may ask again after so long. Without it the client is told not to. */
  retry_after_s?: number
  headers?: Record<string, string>
}

const table = {
  invalid_json: { status: 400, message: 'The body is not valid JSON.' },
  invalid_form: { status: 400, message: 'The form cannot be read.' },
  not_a_form: {
    status: 415,
    code: 'unsupported_media_type',
    message: 'The body must be a form with a file: multipart/form-data.',
  },
  invalid_type: { status: 400, message: 'A parameter has the wrong type.' },
  invalid_value: { status: 400, message: 'A parameter has a value out of its range.' },
  missing_required_parameter: { status: 400, message: 'A parameter is missing.' },
  unknown_parameter: { status: 400, message: 'This parameter is not known.' },
  unsupported_parameter: { status: 400, message: 'This parameter is not supported.' },
  // By this name the clients' own loops know to send the whole conversation instead.
  thread_unsupported_request: {
    status: 400,
    message: 'Conversations are not kept here: send all of it, without a thread.',
  },
  flex_not_offered: {
    status: 400,
    code: 'unsupported_parameter',
    message: "This model has no price for the service_tier 'flex'. Leave it out, or say 'default'.",
  },
  not_verified: {
    status: 400,
    code: 'unsupported_parameter',
    message: 'No node of this model verifies answers in this language.',
  },
  context_length_exceeded: {
    status: 400,
    message: 'The prompt and max_tokens do not fit into the context of this model.',
  },
  invalid_token_id: { status: 400, message: 'A token id is not in the vocabulary.' },
  invalid_function_parameters: { status: 400, message: 'No call can be held to the parameters of these tools.' },
  invalid_response_format: { status: 400, message: 'No answer can be held to this response_format.' },
  invalid_api_key: {
    status: 401,
    message: "The API key is missing or not valid. Send it in the header 'Authorization: Bearer KEY'.",
    headers: { 'www-authenticate': 'Bearer' },
  },
  missing_scope: { status: 403, type: 'permission_error', message: 'This key does not have the scope for this.' },
  address_not_allowed: {
    status: 403,
    type: 'permission_error',
    message: 'This key may not be used from this address.',
  },
  exceeds_own_key: {
    status: 403,
    type: 'permission_error',
    message: 'A key can neither give another more than it has, nor change one that has more.',
  },
  account_suspended: {
    status: 403,
    type: 'permission_error',
    message: 'This account is suspended. What it used and owes can still be read.',
  },
  missing_role: { status: 403, type: 'permission_error', message: 'This operator does not have the role for this.' },
  limits_are_shared: {
    status: 400,
    message: 'A key that is made by one with limits shares them and what they count: it cannot have others.',
  },
  too_many_keys: { status: 400, message: 'This account has as many keys as it may. Revoke some.' },
  request_revoked: {
    status: 403,
    message: 'The permission for this request was taken back while it ran.',
  },
  too_many_jobs: {
    status: 429,
    type: 'requests',
    message: 'As many responses of this account wait in the background as may, or as many bytes of them.',
    retry_after_s: 10,
  },
  too_many_webhook_endpoints: {
    status: 400,
    message: 'This account has as many webhook endpoints as it may. Delete some.',
  },
  too_many_batches: { status: 400, message: 'This account has as many batches as may run at a time.' },
  unknown_file: { status: 400, message: 'There is no file of this id that is for a batch.' },
  batch_has_ended: { status: 400, message: 'This batch has ended, or is just ending.' },
  too_many_files: { status: 400, message: 'This account has as many files as it may. Delete some.' },
  too_many_uploads: {
    status: 429,
    type: 'requests',
    code: 'concurrency_limit_exceeded',
    message: 'As many files are being uploaded as may at a time. Try again when one has ended.',
    retry_after_s: 1,
  },
  no_room_for_file: { status: 400, message: 'The files of this account have no room for this one. Delete some.' },
  file_in_use: { status: 400, message: 'A batch reads this file. It can be deleted when that has ended.' },
  files_not_configured: { status: 404, message: 'Files are not set up on this server.' },
  files_unavailable: {
    status: 503,
    type: 'server_error',
    message: 'Files cannot be written or read now. Try again.',
    retry_after_s: 2,
  },
  file_lost: { status: 400, message: 'This file could not be written to its end in time. Upload it again.' },
  webhook_endpoint_disabled: {
    status: 400,
    message: 'This webhook endpoint is disabled, so nothing is sent to it. Enable it first.',
  },
  email_not_configured: { status: 400, message: 'No provider of e-mail is set up on this server.' },
  url_not_allowed: { status: 400, message: 'Webhooks cannot be sent to this URL.' },
  webhook_unreachable: {
    status: 400,
    message: 'The endpoint could not be reached: no connection, or no answer in time.',
  },
  webhook_secret_lost: {
    status: 400,
    message: 'The signing secret of this endpoint cannot be opened any more. Rotate it.',
  },
  already_revoked: { status: 400, message: 'This key has been revoked or has expired.' },
  rotation_running: {
    status: 400,
    message:
      'This key and the one that replaces it, or that it replaced, both work now. Without the scope keys it can be rotated when one has ended.',
  },
  name_taken: { status: 400, message: 'Another operator has this name.' },
  reverse_charge_needs_tax_id: {
    status: 400,
    message: 'Reverse charge needs the tax id of the buyer, and no rate of tax.',
  },
  incomplete_seller: { status: 400, message: 'A seller has a name, an address and a country.' },
  overdraft_in_use: { status: 400, message: 'overdraft_nanousd cannot be less than what of it is in use.' },
  uncountable: {
    status: 400,
    message:
      'With this the credits or debits of the account would add up to more than can be counted, 2^63 - 1 nano-USD.',
  },
  model_not_allowed: { status: 403, type: 'permission_error', message: 'This key may not use this model.' },
  not_found: { status: 404, message: 'There is nothing here.' },
  stream_not_found: {
    status: 404,
    message:
      'This account has asked nothing here with this Idempotency-Key that could be gone on with. Send it without Last-Event-ID to ask anew.',
  },
  previous_response_not_found: { status: 404, message: 'There is no such response that is stored.' },
  model_not_found: { status: 404, message: 'This model does not exist.' },
  method_not_allowed: { status: 405, message: 'This method is not allowed here.' },
  body_too_large: { status: 413, message: 'The body is larger than allowed.' },
  unsupported_media_type: {
    status: 415,
    message: 'The body must be JSON (content-type: application/json), without content-encoding.',
  },
  range_not_satisfiable: { status: 416, message: 'The file has no such bytes.' },
  unknown_node: {
    status: 401,
    message: 'This node is not registered. An operator registers it: npm run admin -- nodes create.',
  },
  unknown_node_key: { status: 401, message: 'This key is not, or no longer, that of the node.' },
  other_node_url: { status: 403, type: 'permission_error', message: 'This node is registered with another address.' },
  other_node_model: { status: 403, type: 'permission_error', message: 'This node is registered for another model.' },
  stale_report: { status: 400, message: 'The time of this report is not now.' },
  repeated_report: { status: 409, message: 'This report came before, or a later one did.' },
  second_process: { status: 409, message: 'Another process reports as this node.' },
  node_exists: { status: 400, message: 'There is a node of this id, and it is registered otherwise.' },
  key_taken: { status: 400, message: 'This is the key of another node. Each has one of its own.' },
  invalid_signature: { status: 400, message: 'The signature of this event is missing, not valid or too old.' },
  customer_taken: { status: 400, message: 'This customer pays for another account already.' },
  payments_not_configured: { status: 404, message: 'Payments by Stripe are not set up on this server.' },
  repeated_by_hand: {
    status: 409,
    message: 'The same was booked a moment ago. Give a reference, or say `again`, to book it once more.',
  },
  idempotency_running: {
    status: 409,
    message: 'A request with this Idempotency-Key is running. Its result can be had when it has ended.',
    retry_after_s: 1,
  },
  idempotency_lost: {
    status: 409,
    message:
      'The first request with this Idempotency-Key has ended and its result was not kept. Use another key to ask again.',
  },
  idempotency_mismatch: {
    status: 422,
    message: 'This Idempotency-Key came with another body, or from another API key, before.',
  },
  rate_limit_requests: {
    status: 429,
    type: 'requests',
    code: 'rate_limit_exceeded',
    message: 'Rate limit reached: requests per minute.',
    retry_after_s: 1,
  },
  rate_limit_tokens: {
    status: 429,
    type: 'tokens',
    code: 'rate_limit_exceeded',
    message: 'Rate limit reached: tokens per minute.',
    retry_after_s: 1,
  },
  rate_limit_in_flight: {
    status: 429,
    type: 'requests',
    code: 'concurrency_limit_exceeded',
    message: 'As many requests are running as may at a time. Try again when one has ended.',
    retry_after_s: 1,
  },
  request_too_large: {
    status: 429,
    type: 'tokens',
    code: 'request_too_large',
    message: 'This request could use more tokens than its limit of tokens per minute.',
  },
  spend_cap_reached: {
    status: 429,
    type: 'insufficient_quota',
    message: 'With this request more could be spent this month than the cap allows.',
  },
  too_many_requests: {
    status: 429,
    type: 'requests',
    code: 'rate_limit_exceeded',
    message: 'Too many requests come from this address.',
    retry_after_s: 10,
  },
  too_many_failures: {
    status: 429,
    type: 'requests',
    code: 'rate_limit_exceeded',
    message: 'Too many keys that are not valid come from this address.',
    retry_after_s: 10,
  },
  insufficient_quota: {
    status: 429,
    type: 'insufficient_quota',
    message: 'The balance of this account does not cover the most this request could cost.',
  },
  client_gone: { status: 499, message: 'The client left before it was answered.' }, // nobody reads it
  internal_error: { status: 500, type: 'server_error', message: 'Something went wrong on our side.', retry_after_s: 1 },
  payments_unavailable: {
    status: 503,
    type: 'server_error',
    message: 'Stripe does not answer now. Nothing was charged. Try again.',
    retry_after_s: 5,
  },
  overloaded: { status: 503, type: 'server_error', message: 'Too much is waiting. Try again.', retry_after_s: 1 },
  node_has_no_room: {
    status: 503,
    type: 'server_error',
    message: 'What serves this model has no room left to account for another request, so none is taken. Try again.',
    retry_after_s: 10,
  },
  model_unavailable: { status: 503, type: 'server_error', message: 'No node serves this model now.', retry_after_s: 2 },
  database_unavailable: {
    status: 503,
    type: 'server_error',
    message: 'Accounts cannot be read now, so nothing is generated. Try again.',
    retry_after_s: 1,
  },
} satisfies Record<string, Refusal>

export type ErrorCode = keyof typeof table

export interface Detail {
  param?: string | null
  message?: string
  headers?: Record<string, string>
}

export class ApiError extends Error {
  readonly code: ErrorCode
  readonly detail: Detail

  constructor(code: ErrorCode, detail: Detail = {}) {
    super(code)
    this.code = code
    this.detail = detail
  }

  get status(): number {
    return table[this.code].status
  }
}

export function errorResponse(error: ApiError): Response {
  return Response.json(errorBodyOf(error), { status: error.status, headers: toldBy(error).headers })
}

/** A refusal as OpenAI's clients read it. */
export function errorBodyOf(error: ApiError): ErrorBody {
  const { type = 'invalid_request_error', code = error.code } = refusalOf(error)
  const { message, param } = toldBy(error)
  return { error: { message, type, param, code } }
}

/** The same refusal in Anthropic's form, with its statuses where it has others. */
export function messageErrorResponse(error: ApiError, request_id: string): Response {
  const { code = error.code, ...refusal } = refusalOf(error)
  const { message, param, headers } = toldBy(error)
  const [status, type] = MESSAGE_STATUS[error.code] ?? [refusal.status, MESSAGE_TYPES[refusal.status]]
  const body: MessageError = {
    type: 'error',
    error: { type: type ?? 'invalid_request_error', message, details: { error_code: code, param } },
    request_id,
  }
  return Response.json(body, { status, headers })
}

const MESSAGE_TYPES: Partial<Record<Refusal['status'], MessageErrorType>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  500: 'api_error',
  503: 'api_error',
}

const MESSAGE_STATUS: Partial<Record<ErrorCode, [status: number, type: MessageErrorType]>> = {
  insufficient_quota: [402, 'billing_error'],
  spend_cap_reached: [402, 'billing_error'],
  overloaded: [529, 'overloaded_error'],
}

/** A refusal as a part of an answer. */
export function messageOf(error: ApiError): { code: string; message: string } {
  return { code: refusalOf(error).code ?? error.code, message: toldBy(error).message }
}

function refusalOf({ code }: ApiError): Refusal {
  return table[code]
}

/** What of a refusal is the same in every form. */
function toldBy(error: ApiError): { message: string; param: string | null; headers: Record<string, string> } {
  const { message, retry_after_s, headers } = refusalOf(error)
  const { detail } = error
  const retry: Record<string, string> =
    retry_after_s === undefined ? { 'x-should-retry': 'false' } : { 'retry-after': String(retry_after_s) }
  return {
    message: detail.message ?? message,
    param: detail.param ?? null,
    headers: { ...retry, ...headers, ...detail.headers },
  }
}
