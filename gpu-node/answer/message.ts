// The shape of Anthropic's `POST /v1/messages`: one message of blocks, text and then calls of tools.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type {
  Message,
  MessageBlock,
  MessageError,
  MessageEvent,
  MessageStopReason,
} from '../../contract/public/messages.ts'
import type { Usage } from '../../contract/public/openai.ts'
import { membersOf } from './begun-json.ts'
import { FAILURE_MESSAGES } from './openai-shape.ts'
import { callId, type Failure, type Finish, type Piece, type PublicShape, type WholeChoice } from './public-shape.ts'

export function messageShape({ request_id, response_id, model }: GenerateRequest, usage: () => Usage): PublicShape {
  const message = (content: MessageBlock[], finish: Finish | null, usage: Usage): Message => ({
    id: response_id,
    type: 'message',
    role: 'assistant',
    model,
    content,
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
  const idOf = (call: number) => `toolu_${callId(request_id, { choice: 0, call })}`
  const blocks = new StreamedBlocks(idOf)
  return {
    opening: () => [{ type: 'message_start', message: message([], null, usage()) } satisfies MessageEvent],
    delta: (_, piece) => blocks.add(piece),
    finish: (_, finish) => blocks.end(finish),
    end: (usage) => [
      { type: 'message_delta', delta: endingOf(blocks.ended), usage: countsOf(usage) } satisfies MessageEvent,
    ],
    whole: ([choice], usage) => message(contentOf(choice!, idOf), choice!.finish, usage),
    error: (why) => failure(why, request_id),
    failed: (why) => [failure(why, request_id)],
    frame,
    last_frame: frame({ type: 'message_stop' }),
  }
}

/** The blocks of a stream, one open at a time. */
class StreamedBlocks {
  readonly #idOf: (call: number) => string
  #index = -1 // of the block that is open
  #call: number | null = null // that it is of; null for text
  ended: Finish | null = null // told after the last block has stopped

  constructor(idOf: (call: number) => string) {
    this.#idOf = idOf
  }

  add({ text, call }: Piece): MessageEvent[] {
    const delta = call
      ? ({ type: 'input_json_delta', partial_json: call.arguments } as const)
      : ({ type: 'text_delta', text } as const)
    const opened = this.#index < 0 || this.#call !== (call?.index ?? null) ? this.#open(call) : []
    if (call && call.arguments === '') return opened // its name alone
    return [...opened, { type: 'content_block_delta', index: this.#index, delta }]
  }

  end(finish: Finish): MessageEvent[] {
    const opened = this.#index < 0 ? this.#open(undefined) : []
    this.ended = finish
    return [...opened, { type: 'content_block_stop', index: this.#index }]
  }

  #open(call: Piece['call']): MessageEvent[] {
    const is_first = this.#index < 0
    const before: MessageEvent[] = is_first ? [] : [{ type: 'content_block_stop', index: this.#index }]
    this.#index += 1
    this.#call = call?.index ?? null
    const content_block = call ? toolUse(this.#idOf(call.index), call.name ?? '', {}) : textBlock('')
    const after: MessageEvent[] = is_first ? [{ type: 'ping' }] : []
    return [...before, { type: 'content_block_start', index: this.#index, content_block }, ...after]
  }
}

/** A message has a block at least, empty where nothing was said. */
function contentOf({ text, calls }: WholeChoice, idOf: (call: number) => string): MessageBlock[] {
  const said = text !== '' || calls.length === 0 ? [textBlock(text)] : []
  return [...said, ...calls.map((call, i) => toolUse(idOf(i), call.name, membersOf(call.arguments)))]
}

function textBlock(text: string): MessageBlock {
  return { type: 'text', text, citations: null }
}

function toolUse(id: string, name: string, input: Record<string, unknown>): MessageBlock {
  return { type: 'tool_use', id, caller: { type: 'direct' }, name, input }
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

function stopReason({ reason, stop, has_called }: Finish): MessageStopReason {
  if (has_called) return 'tool_use'
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
    message: FAILURE_MESSAGES.error,
    details: { error_code: 'engine_failed', param: null },
  },
  revoked: {
    type: 'permission_error',
    message: FAILURE_MESSAGES.revoked,
    details: { error_code: 'request_revoked', param: null },
  },
  overloaded: {
    type: 'overloaded_error',
    message: FAILURE_MESSAGES.overloaded,
    details: { error_code: 'overloaded', param: null },
  },
  context_length_exceeded: {
    type: 'invalid_request_error',
    message: FAILURE_MESSAGES.context_length_exceeded,
    details: { error_code: 'context_length_exceeded', param: null },
  },
  refused: {
    type: 'invalid_request_error',
    message: FAILURE_MESSAGES.refused,
    details: { error_code: 'unsupported_parameter', param: null },
  },
}

function failure(why: Failure, request_id: string): MessageError {
  return { type: 'error', error: FAILURES[why], request_id }
}
