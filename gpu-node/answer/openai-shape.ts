// What both shapes of OpenAI's have in common: how a stream is written, and its errors.

import assert from 'node:assert/strict'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody, ErrorType } from '../../contract/public/error.ts'
import type { ChatTopLogprob, Usage, VerificationReport } from '../../contract/public/openai.ts'
import type { Candidate, TokenLogprob } from '../run/runner.ts'
import type { Failure, PublicShape, ToldOfRun } from './public-shape.ts'

export const openAiFrames: Pick<PublicShape, 'error' | 'failed' | 'frame' | 'last_frame'> = {
  error: (why) => failures[why],
  failed: (why) => [failures[why]],
  frame: (data) => `data: ${JSON.stringify(data)}\n\n`,
  last_frame: 'data: [DONE]\n\n',
}

/** What every answer and chunk has. */
export function headOf(
  { response_id, created_unix_s, model, service_tier }: GenerateRequest,
  { fingerprint }: ToldOfRun,
) {
  return {
    id: response_id,
    created: created_unix_s,
    model,
    ...(fingerprint && { system_fingerprint: fingerprint }),
    ...(service_tier && { service_tier }),
  }
}

/** What became of the candidates of an answer, where it was to be verified. */
export function verified({ verification }: ToldOfRun): { verification?: VerificationReport } {
  return verification ? { verification } : {}
}

/** Usage on every chunk of a stream that asked for it; before the last it is null, or what was counted so far. */
export function chunkUsage(
  { include_usage, continuous_usage }: GenerateRequest,
  usage: () => Usage,
): { usage?: Usage | null } {
  if (!include_usage) return {}
  return { usage: continuous_usage ? usage() : null }
}

/** A token of an answer, or one that could have been there. */
export function candidateOf({ text, bytes, logprob }: Candidate | TokenLogprob): ChatTopLogprob {
  assert(logprob !== null, 'only of a prompt that is echoed is there a token that nothing comes before')
  return { token: text, logprob, bytes }
}

/** The ids of tokens, where they were asked for. */
export function idsOf(token_ids: readonly number[] | undefined): { token_ids?: number[] } {
  return token_ids ? { token_ids: [...token_ids] } : {}
}

export const FAILURE_MESSAGES: Record<Failure, string> = {
  error: 'The model failed while generating this answer.',
  revoked: 'The permission for this request was taken back while it ran.',
  overloaded: 'What serves this model has no room now, or cannot be reached. Try again.',
  context_length_exceeded: 'The prompt and max_tokens do not fit into the context of this model.',
  refused: 'What serves this model does not take a request like this one.',
}

const failures: Record<Failure, ErrorBody> = {
  error: failure('server_error', 'engine_failed', FAILURE_MESSAGES.error),
  revoked: failure('invalid_request_error', 'request_revoked', FAILURE_MESSAGES.revoked),
  overloaded: failure('server_error', 'overloaded', FAILURE_MESSAGES.overloaded),
  context_length_exceeded: failure(
    'invalid_request_error',
    'context_length_exceeded',
    FAILURE_MESSAGES.context_length_exceeded,
  ),
  refused: failure('invalid_request_error', 'unsupported_parameter', FAILURE_MESSAGES.refused),
}

function failure(type: ErrorType, code: string, message: string): ErrorBody {
  return { error: { message, type, param: null, code } }
}
