// What both shapes of OpenAI's have in common: how a stream is written, and its errors.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody, ErrorType } from '../../contract/public/error.ts'
import type { PublicShape } from './public-shape.ts'

export const openAiFrames: Pick<PublicShape, 'error' | 'frame' | 'last_frame'> = {
  error: (why) => failures[why],
  frame: (data) => `data: ${JSON.stringify(data)}\n\n`,
  last_frame: 'data: [DONE]\n\n',
}

/** Usage on every chunk of a stream that asked for it; it is null before the last. */
export function nullUsage({ include_usage }: GenerateRequest): { usage?: null } {
  return include_usage ? { usage: null } : {}
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
