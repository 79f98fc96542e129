// A refusal as HTTP: the one table from code to status.

import type { NodeError, NodeErrorCode } from '../../contract/internal/generation.ts'
import type { Refusal } from '../refusal.ts'

const STATUS: Record<NodeErrorCode, 400 | 401 | 404 | 503> = {
  bad_ticket: 401,
  bad_request: 400,
  context_length_exceeded: 400,
  ceiling_exceeded: 400,
  unknown_special: 400,
  no_infill: 400,
  wrong_model: 400,
  invalid_messages: 400,
  invalid_token_id: 400,
  invalid_constraint: 400,
  invalid_tools: 400,
  unsupported: 400,
  overloaded: 503,
  no_room: 503,
  draining: 503,
  engine_failed: 503,
  no_stream: 404,
}

export interface RefusalAnswer {
  status: 400 | 401 | 404 | 503
  headers: Record<string, string>
  body: NodeError
}

export function refusalAnswer({ code, message, param, retry_after_s }: Refusal): RefusalAnswer {
  return {
    status: STATUS[code],
    headers: retry_after_s === null ? {} : { 'retry-after': String(retry_after_s) },
    body: { error: { code, message, param } },
  }
}
