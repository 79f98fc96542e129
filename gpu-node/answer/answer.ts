// Turns the events of a generation into public bytes. Streamed or whole, of whichever shape, it takes the same events through
// one interface, so that a streamed answer and an unstreamed one cannot drift apart.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { TokenLogprob } from '../run/runner.ts'
import { chatShape } from './chat.ts'
import { completionShape } from './completion.ts'
import { messageShape } from './message.ts'
import type { Failure, Finish, PublicShape, WholeChoice } from './public-shape.ts'

/** Collects the bytes of an answer as its events come. `take` hands out what a step made, for one socket write. */
export interface Answer {
  readonly content_type: string
  /** The log-probabilities are of the tokens that end with this text; they count only where the request asked for them. */
  text(choice: number, text: string, logprobs?: readonly TokenLogprob[]): void
  finish(choice: number, finish: Finish): void
  end(usage: Usage): void
  error(why: Failure): void
  readonly has_bytes: boolean
  take(): string
}

const shapes = { chat: chatShape, completion: completionShape, message: messageShape }

/** `usage` is what was counted when it is asked for. */
export function answerTo(request: GenerateRequest, usage: () => Usage): Answer {
  const shape = shapes[request.shape](request)
  const choices = request.prompts.length * request.n
  return request.stream ? new StreamedAnswer(shape, choices, request, usage) : new WholeAnswer(shape, choices, request)
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
  readonly #has_logprobs: boolean
  readonly #usage: () => Usage

  constructor(shape: PublicShape, choices: number, { logprobs }: GenerateRequest, usage: () => Usage) {
    super()
    this.#shape = shape
    this.#opened = new Array<boolean>(choices).fill(false)
    this.#has_logprobs = logprobs !== null
    this.#usage = usage
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = []): void {
    this.#open(choice)
    if (text === '' && logprobs.length === 0) return
    this.#frame(this.#shape.delta(choice, { text, logprobs: this.#has_logprobs ? logprobs : null }))
  }

  finish(choice: number, finish: Finish): void {
    this.#open(choice)
    this.#frame(this.#shape.finish(choice, finish))
  }

  end(usage: Usage): void {
    for (const data of this.#shape.end(usage)) this.#frame(data)
    this.bytes += this.#shape.last_frame
  }

  error(why: Failure): void {
    this.#frame(this.#shape.error(why))
  }

  #open(choice: number): void {
    if (this.#opened[choice]) return
    this.#opened[choice] = true
    for (const data of this.#shape.opening(choice, this.#usage())) this.#frame(data)
  }

  #frame(data: object): void {
    this.bytes += this.#shape.frame(data)
  }
}

class WholeAnswer extends Unsent implements Answer {
  readonly content_type = 'application/json'
  readonly #shape: PublicShape
  readonly #choices: (WholeChoice & { logprobs: TokenLogprob[] | null })[]

  constructor(shape: PublicShape, choices: number, { logprobs }: GenerateRequest) {
    super()
    this.#shape = shape
    this.#choices = Array.from({ length: choices }, () => ({
      text: '',
      logprobs: logprobs === null ? null : [],
      finish: { reason: 'length', stop: null },
    }))
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = []): void {
    const whole = this.#choices[choice]!
    whole.text += text
    whole.logprobs?.push(...logprobs)
  }

  finish(choice: number, finish: Finish): void {
    this.#choices[choice]!.finish = finish
  }

  end(usage: Usage): void {
    this.bytes = JSON.stringify(this.#shape.whole(this.#choices, usage))
  }

  error(why: Failure): void {
    this.bytes = JSON.stringify(this.#shape.error(why))
  }
}
