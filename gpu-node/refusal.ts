// What the node says no to before the first byte, and the one table from code to status.

import type { NodeError, NodeErrorCode } from '../contract/internal/generation.ts'

const STATUS: Record<NodeErrorCode, 400 | 401 | 503> = {
  bad_ticket: 401,
  bad_request: 400,
  context_length_exceeded: 400,
  ceiling_exceeded: 400,
  unknown_special: 400,
  invalid_token_id: 400,
  overloaded: 503,
  draining: 503,
  engine_failed: 503,
}

export class Refusal extends Error {
  readonly code: NodeErrorCode
  readonly param: string | null
  readonly retry_after_s: number | null

  constructor(
    code: NodeErrorCode,
    message: string,
    { param = null, retry_after_s = null }: { param?: string | null; retry_after_s?: number | null } = {},
  ) {
    super(message)
    this.name = 'Refusal'
    this.code = code
    this.param = param
    this.retry_after_s = retry_after_s
  }

  get status(): 400 | 401 | 503 {
    return STATUS[this.code]
  }

  get headers(): Record<string, string> {
    return this.retry_after_s === null ? {} : { 'retry-after': String(this.retry_after_s) }
  }

  get body(): NodeError {
    return { error: { code: this.code, message: this.message, param: this.param } }
  }
}
