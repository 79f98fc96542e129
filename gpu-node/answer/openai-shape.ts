// What both shapes of OpenAI's have in common: how a stream is written, and its errors.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody, ErrorType } from '../../contract/public/error.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { Failure, PublicShape } from './public-shape.ts'

export const openAiFrames: Pick<PublicShape, 'error' | 'failed' | 'frame' | 'last_frame'> = {
  error: (why) => failures[why],
  failed: (why) => [failures[why]],
  frame: (data) => `data: ${JSON.stringify(data)}\n\n`,
  last_frame: 'data: [DONE]\n\n',
}

/** Usage on every chunk of a stream that asked for it; before the last it is null, or what was counted so far. */
export function chunkUsage(
  { include_usage, continuous_usage }: GenerateRequest,
  usage: () => Usage,
): { usage?: Usage | null } {
  if (!include_usage) return {}
  return { usage: continuous_usage ? usage() : null }
}

export const FAILURE_MESSAGES: Record<Failure, string> = {
  error: 'The model failed while generating this answer.',
  revoked: 'The permission for this request was taken back while it ran.',
}

const failures: Record<Failure, ErrorBody> = {
  error: failure('server_error', 'engine_failed', FAILURE_MESSAGES.error),
  revoked: failure('invalid_request_error', 'request_revoked', FAILURE_MESSAGES.revoked),
}

function failure(type: ErrorType, code: string, message: string): ErrorBody {
  return { error: { message, type, param: null, code } }
}
