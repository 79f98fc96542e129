// Turns the events of a generation into public bytes. Streamed or whole, of whichever shape, it takes the same events through
// one interface, so that a streamed answer and an unstreamed one cannot drift apart.

import { type GenerateRequest, WHOLE_ANSWER } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { TokenLogprob } from '../run/runner.ts'
import { CallReader, type Part } from './call-reader.ts'
import { chatShape } from './chat.ts'
import { completionShape } from './completion.ts'
import { EvenAnswer } from './even-answer.ts'
import { messageShape } from './message.ts'
import type { Ending, Failure, Finish, Piece, PublicShape, ToldOfRun, WholeChoice } from './public-shape.ts'
import { responseShape } from './response.ts'
import { rerankShape, scoreShape } from './score.ts'

/** Collects the bytes of an answer as its events come. `take` hands out what a step made, for one socket write. */
export interface Answer {
  readonly content_type: string
  /**
   * The log-probabilities are of the tokens that end with this text, the ids those of the tokens that are counted with it; both count
   * only where the request asked for them.
   */
  text(choice: number, text: string, logprobs?: readonly TokenLogprob[], token_ids?: readonly number[]): void
  finish(choice: number, ending: Ending): void
  end(usage: Usage): void
  error(why: Failure): void
  readonly has_bytes: boolean
  take(): string
}

const shapes = {
  chat: chatShape,
  completion: completionShape,
  message: messageShape,
  response: responseShape,
  score: scoreShape,
  rerank: rerankShape,
}

/** `usage` is what was counted when it is asked for. */
export function answerTo(request: GenerateRequest, usage: () => Usage, run: ToldOfRun = {}): Answer {
  const shape = shapes[request.shape](request, usage, run)
  const choices = request.prompts.length * request.n
  if (!request.stream) return new WholeAnswer(shape, choices, request)
  const whole = request.whole_at_end
    ? new WholeAnswer(shapes[request.shape](request, usage, run), choices, request)
    : null
  const streamed = new StreamedAnswer(shape, choices, request, whole)
  return request.asked?.background ? new EvenAnswer(streamed, request) : streamed
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

/** What reads each choice for calls of tools, where there are any to call. */
function callReaders(choices: number, { constraint }: GenerateRequest): (CallReader | null)[] {
  const names = constraint?.kind === 'tools' ? constraint.tools.map(({ name }) => name) : null
  return Array.from({ length: choices }, () => names && new CallReader(names))
}

class StreamedAnswer extends Unsent implements Answer {
  readonly content_type = 'text/event-stream; charset=utf-8'
  readonly #shape: PublicShape
  readonly #opened: boolean[]
  readonly #readers: (CallReader | null)[]
  readonly #has_logprobs: boolean
  readonly #has_token_ids: boolean
  readonly #whole: WholeAnswer | null // that it ends with

  constructor(shape: PublicShape, choices: number, request: GenerateRequest, whole: WholeAnswer | null) {
    super()
    this.#shape = shape
    this.#whole = whole
    this.#opened = new Array<boolean>(choices).fill(false)
    this.#readers = callReaders(choices, request)
    this.#has_logprobs = request.logprobs !== null
    this.#has_token_ids = request.return_token_ids ?? false
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = [], token_ids: readonly number[] = []): void {
    this.#whole?.text(choice, text, logprobs, token_ids)
    this.#open(choice)
    const reader = this.#readers[choice]
    const pieces = reader ? reader.push(text).map(pieceOf) : text === '' ? [] : [{ text }]
    this.#say(choice, pieces, { logprobs, token_ids })
  }

  finish(choice: number, ending: Ending): void {
    this.#whole?.finish(choice, ending)
    this.#open(choice)
    const reader = this.#readers[choice]
    if (reader) this.#say(choice, reader.flush().map(pieceOf), NOTHING_TOLD)
    this.#frames(this.#shape.finish(choice, finishOf(ending, reader)))
  }

  end(usage: Usage): void {
    this.#frames(this.#shape.end(usage))
    this.#whole?.end(usage)
    if (this.#whole) this.bytes += `${WHOLE_ANSWER}${this.#whole.take()}\n\n`
    this.bytes += this.#shape.last_frame
  }

  error(why: Failure): void {
    this.#frames(this.#shape.failed(why))
  }

  // What is told of tokens goes with the first piece; where all text is held back it goes alone.
  #say(choice: number, pieces: readonly Said[], { logprobs, token_ids }: Told): void {
    const said = pieces.length === 0 && logprobs.length + token_ids.length > 0 ? [{ text: '' }] : pieces
    for (const [i, piece] of said.entries()) {
      const own = i === 0 ? logprobs : []
      const ids = this.#has_token_ids && { token_ids: i === 0 ? token_ids : [] }
      this.#frames(this.#shape.delta(choice, { ...piece, logprobs: this.#has_logprobs ? own : null, ...ids }))
    }
  }

  #open(choice: number): void {
    if (this.#opened[choice]) return
    this.#opened[choice] = true
    this.#frames(this.#shape.opening(choice))
  }

  #frames(all: object[]): void {
    for (const data of all) this.bytes += this.#shape.frame(data)
  }
}

class WholeAnswer extends Unsent implements Answer {
  readonly content_type = 'application/json'
  readonly #shape: PublicShape
  readonly #readers: (CallReader | null)[]
  readonly #choices: (WholeChoice & { logprobs: TokenLogprob[] | null; token_ids?: number[] })[]

  constructor(shape: PublicShape, choices: number, request: GenerateRequest) {
    super()
    this.#shape = shape
    this.#readers = callReaders(choices, request)
    this.#choices = Array.from({ length: choices }, () => ({
      text: '',
      logprobs: request.logprobs === null ? null : [],
      ...(request.return_token_ids && { token_ids: [] }),
      calls: [],
      finish: { reason: 'length', stop: null, has_called: false },
    }))
  }

  text(choice: number, text: string, logprobs: readonly TokenLogprob[] = [], token_ids: readonly number[] = []): void {
    const reader = this.#readers[choice]
    if (reader) this.#take(choice, reader.push(text))
    else this.#choices[choice]!.text += text
    this.#choices[choice]!.logprobs?.push(...logprobs)
    this.#choices[choice]!.token_ids?.push(...token_ids)
  }

  finish(choice: number, ending: Ending): void {
    const reader = this.#readers[choice]
    if (reader) this.#take(choice, reader.flush())
    this.#choices[choice]!.finish = finishOf(ending, reader)
  }

  #take(choice: number, parts: readonly Part[]): void {
    const whole = this.#choices[choice]!
    for (const part of parts) {
      if (part.kind === 'text') whole.text += part.text
      else if (part.kind === 'call') whole.calls.push({ name: part.name, arguments: '' })
      else whole.calls[part.index]!.arguments += part.text
    }
  }

  end(usage: Usage): void {
    this.bytes = JSON.stringify(this.#shape.whole(this.#choices, usage))
  }

  error(why: Failure): void {
    this.bytes = JSON.stringify(this.#shape.error(why))
  }
}

type Said = Omit<Piece, 'logprobs' | 'token_ids'>

interface Told {
  logprobs: readonly TokenLogprob[]
  token_ids: readonly number[]
}

const NOTHING_TOLD: Told = { logprobs: [], token_ids: [] }

function pieceOf(part: Part): Said {
  if (part.kind === 'text') return { text: part.text }
  const { index } = part
  return {
    text: '',
    call: part.kind === 'call' ? { index, name: part.name, arguments: '' } : { index, arguments: part.text },
  }
}

/** An answer that a client's stop string cut within a call has not called. */
function finishOf(ending: Ending, reader: CallReader | null | undefined): Finish {
  return { ...ending, has_called: ending.reason === 'stop' && (reader?.has_called ?? false) }
}
