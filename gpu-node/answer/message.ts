// The shape of Anthropic's `POST /v1/messages`: one message with one block of text.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Message, MessageError, MessageEvent, MessageStopReason } from '../../contract/public/messages.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { Failure, Finish, PublicShape } from './public-shape.ts'

export function messageShape({ request_id, response_id, model }: GenerateRequest, usage: () => Usage): PublicShape {
  const message = (text: string | null, finish: Finish | null, usage: Usage): Message => ({
    id: response_id,
    type: 'message',
    role: 'assistant',
    model,
    content: text === null ? [] : [{ type: 'text', text, citations: null }],
    diagnostics: null,
    ...endingOf(finish),
    usage: {
      ...countsOf(usage),
      cache_creation: null,
      inference_geo: null,
      service_tier: 'standard',
      speed: null,
    },
  })
  let ended: Finish | null = null // a stream tells it after the block has stopped
  const event = (data: MessageEvent): MessageEvent => data
  return {
    opening: () => [
      event({ type: 'message_start', message: message(null, null, usage()) }),
      event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '', citations: null } }),
      event({ type: 'ping' }),
    ],
    delta: (_, { text }) => event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }),
    finish: (_, finish) => {
      ended = finish
      return event({ type: 'content_block_stop', index: 0 })
    },
    end: (usage) => [event({ type: 'message_delta', delta: endingOf(ended), usage: countsOf(usage) })],
    whole: ([choice], usage) => message(choice!.text, choice!.finish, usage),
    error: (why) => failure(why, request_id),
    frame,
    last_frame: frame({ type: 'message_stop' }),
  }
}

function frame(data: object): string {
  return `event: ${(data as MessageEvent).type}\ndata: ${JSON.stringify(data)}\n\n`
}

function endingOf(
  finish: Finish | null,
): Pick<Message, 'container' | 'stop_details' | 'stop_reason' | 'stop_sequence'> {
  return {
    container: null,
    stop_details: null,
    stop_reason: finish && stopReason(finish),
    stop_sequence: finish?.stop ?? null,
  }
}

function stopReason({ reason, stop }: Finish): MessageStopReason {
  if (reason === 'length') return 'max_tokens'
  return stop === null ? 'end_turn' : 'stop_sequence'
}

// Anthropic counts what was read from the cache beside the input, not in it.
function countsOf({ prompt_tokens, completion_tokens, prompt_tokens_details: { cached_tokens } }: Usage) {
  return {
    input_tokens: prompt_tokens - cached_tokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached_tokens,
    output_tokens: completion_tokens,
    output_tokens_details: null,
    server_tool_use: null,
  }
}

const FAILURES: Record<Failure, MessageError['error']> = {
  error: {
    type: 'api_error',
    message: 'The model failed while generating this answer.',
    details: { error_code: 'engine_failed', param: null },
  },
  revoked: {
    type: 'permission_error',
    message: 'The permission for this request was taken back while it ran.',
    details: { error_code: 'request_revoked', param: null },
  },
}

function failure(why: Failure, request_id: string): MessageError {
  return { type: 'error', error: FAILURES[why], request_id }
}
