// What both shapes of OpenAI's have in common: how a stream is written, and its errors.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody, ErrorType } from '../../contract/public/error.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { PublicShape } from './public-shape.ts'

export const openAiFrames: Pick<PublicShape, 'error' | 'frame' | 'last_frame'> = {
  error: (why) => failures[why],
  frame: (data) => `data: ${JSON.stringify(data)}\n\n`,
  last_frame: 'data: [DONE]\n\n',
}

/** What every answer and chunk has. */
export function headOf({ response_id, created_unix_s, model, service_tier }: GenerateRequest) {
  return { id: response_id, created: created_unix_s, model, ...(service_tier && { service_tier }) }
}

/** Usage on every chunk of a stream that asked for it; before the last it is null, or what was counted so far. */
export function chunkUsage(
  { include_usage, continuous_usage }: GenerateRequest,
  usage: () => Usage,
): { usage?: Usage | null } {
  if (!include_usage) return {}
  return { usage: continuous_usage ? usage() : null }
}

/** The ids of tokens, where they were asked for. */
export function idsOf(token_ids: readonly number[] | undefined): { token_ids?: number[] } {
  return token_ids ? { token_ids: [...token_ids] } : {}
}

const failures = {
  error: failure('server_error', 'engine_failed', 'The model failed while generating this answer.'),
  revoked: failure(
    'invalid_request_error',
    'request_revoked',
    'The permission for this request was taken back while it ran.',
  ),
}

function failure(type: ErrorType, code: string, message: string): ErrorBody {
  return { error: { message, type, param: null, code } }
}
