// Turns the events of a generation into public bytes. Streamed or whole, completion or chat, it takes the same events through
// one interface, so that a streamed answer and an unstreamed one cannot drift apart.

import type { FinishReason, GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody, ErrorType } from '../../contract/public/error.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { TokenLogprob } from '../run/runner.ts'
import { chatShape } from './chat.ts'
import { completionShape } from './completion.ts'
import type { PublicShape } from './public-shape.ts'

/** Collects the bytes of an answer as its events come. `take` hands out what a step made, for one socket write. */
export interface Answer {
  readonly content_type: string
  /** The log-probabilities are of the tokens that end with this text; they count only where the request asked for them. */
  text(choice: number, text: string, logprobs?: readonly TokenLogprob[]): void
  finish(choice: number, reason: FinishReason): void
  end(usage: Usage): void
  error(why: Failure): void
  readonly has_bytes: boolean
  take(): string
}

/** Why an answer ends with an error. */
export type Failure = 'error' | 'revoked'

export function answerTo(request: GenerateRequest): Answer {
  const shape = request.shape === 'chat' ? chatShape(request) : completionShape(request)
  const choices = request.prompts.length * request.n
  return request.stream ? new StreamedAnswer(shape, choices, request) : new WholeAnswer(shape, choices, request)
}

export const KEEP_ALIVE = ': keep-alive\n\n'

/** The bytes that no socket has been given yet. */
abstract class Unsent {
  protected bytes = ''

  get has_bytes(): boolean {
    return this.bytes !== ''
  }

  take(): string {
    const bytes = this.bytes
    this.bytes = ''
    return bytes
  }
}

class StreamedAnswer extends Unsent implements Answer {
  readonly content_type = 'text/event-stream; charset=utf-8'
  readonly #shape: PublicShape
  readonly #opened: boolean[]
  readonly #include_usage: boolean
  readonly #has_logprobs: boolean

  constructor(shape: PublicShape, choices: number, request: GenerateRequest) {
    super()
    this.#shape = shape
    this.#opened = new Array<boolean>(choices).fill(false)
    this.#include_usage = request.include_usage
    this.#has_logprobs = request.logprobs !== null
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = []): void {
    this.#open(choice)
    if (text === '' && logprobs.length === 0) return
    this.#chunk(this.#shape.delta(choice, { text, logprobs: this.#has_logprobs ? logprobs : null }))
  }

  finish(choice: number, reason: FinishReason): void {
    this.#open(choice)
    this.#chunk(this.#shape.finish(choice, reason))
  }

  end(usage: Usage): void {
    if (this.#include_usage) this.#frame(this.#shape.usage(usage))
    this.bytes += 'data: [DONE]\n\n'
  }

  error(why: Failure): void {
    this.#frame(failures[why])
  }

  #open(choice: number): void {
    if (this.#opened[choice]) return
    this.#opened[choice] = true
    const opening = this.#shape.opening(choice)
    if (opening) this.#chunk(opening)
  }

  #chunk(chunk: object): void {
    this.#frame(this.#include_usage ? { ...chunk, usage: null } : chunk)
  }

  #frame(data: object): void {
    this.bytes += `data: ${JSON.stringify(data)}\n\n`
  }
}

class WholeAnswer extends Unsent implements Answer {
  readonly content_type = 'application/json'
  readonly #shape: PublicShape
  readonly #choices: { text: string; logprobs: TokenLogprob[] | null; finish_reason: FinishReason }[]

  constructor(shape: PublicShape, choices: number, { logprobs }: GenerateRequest) {
    super()
    this.#shape = shape
    this.#choices = Array.from({ length: choices }, () => ({
      text: '',
      logprobs: logprobs === null ? null : [],
      finish_reason: 'length',
    }))
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = []): void {
    const whole = this.#choices[choice]!
    whole.text += text
    whole.logprobs?.push(...logprobs)
  }

  finish(choice: number, reason: FinishReason): void {
    this.#choices[choice]!.finish_reason = reason
  }

  end(usage: Usage): void {
    this.bytes = JSON.stringify(this.#shape.whole(this.#choices, usage))
  }

  error(why: Failure): void {
    this.bytes = JSON.stringify(failures[why])
  }
}

const failures: Record<Failure, ErrorBody> = {
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
