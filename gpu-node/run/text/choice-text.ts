// One choice's text on its way out: tokens bring pieces of it, and what may be delivered leaves, with its end. Stop strings are
// matched here, beside whoever generates, because they end a choice as its last token does: what is drawn behind one is
// neither shown nor counted.

import type { FinishReason } from '../../../contract/internal/generation.ts'
import type { RunEvent, RunRequest } from '../runner.ts'
import { type Completed, LogprobQueue, type Spelled } from './logprobs.ts'
import { StopMatcher, type StopResult } from './stop.ts'

/** The part of an event that is the text's. */
export type Delivery = Required<Pick<RunEvent, 'text' | 'logprobs' | 'finish' | 'stop'>>

/** A token whose text is given with its log-probability: of a prompt that is echoed, or as another engine tells it. */
export interface EchoedToken {
  completed: Completed
  spelled: Spelled
}

const GOES_ON = { ends: false, stopped: false }

export class ChoiceText {
  readonly #stops: StopMatcher
  readonly #logprobs = new LogprobQueue()
  readonly #min_tokens: number
  #echo: string
  #tokens = 0

  /** `echo` is given before the first text: the prompt's, where it was asked for and does not come token by token. */
  constructor(
    { stop, include_stop, min_tokens }: Pick<RunRequest, 'stop' | 'include_stop' | 'min_tokens'>,
    echo: string,
  ) {
    this.#stops = new StopMatcher(stop, include_stop)
    this.#min_tokens = min_tokens
    this.#echo = echo
  }

  /** Tokens that were taken. */
  get tokens(): number {
    return this.#tokens
  }

  /**
   * Takes one token: the text it completed, and how it is spelled where log-probabilities were asked for. `end` comes with the
   * last one: why it is that, and the text of what no further token completes.
   */
  take(completed: Completed, spelled: Spelled | null, end: { finish: FinishReason; rest: string } | null): Delivery {
    this.#tokens++
    if (spelled) this.#logprobs.push(completed, spelled)
    const text = completed.unfinished + completed.text
    return end ? this.#deliver(text + end.rest, end.finish) : this.#deliver(text, null)
  }

  /** Takes a piece of text of so many tokens, those of them that are known one by one as they are spelled. */
  takePiece(
    piece: { text: string; tokens: number; listed: readonly EchoedToken[] },
    finish: FinishReason | null = null,
  ): Delivery {
    this.#tokens += piece.tokens
    for (const { completed, spelled } of piece.listed) this.#logprobs.push(completed, spelled)
    return this.#deliver(piece.text, finish)
  }

  /** Takes tokens of the prompt, which are delivered as they are: no stop is looked for in them. */
  echo(tokens: readonly EchoedToken[]): Delivery {
    for (const { completed, spelled } of tokens) this.#logprobs.push(completed, spelled)
    const text = tokens.map(({ completed }) => completed.unfinished + completed.text).join('')
    return { text, logprobs: this.#logprobs.release(text, GOES_ON), finish: null, stop: null }
  }

  /** Ends it without another token. */
  cut(rest: string): Delivery {
    return this.#deliver(rest, 'length')
  }

  #deliver(text: string, finish: FinishReason | null): Delivery {
    const { text: free, stop } = this.#upToStop(text)
    const stopped = stop !== null
    const held = finish !== null && !stopped ? this.#stops.flush() : ''
    const end = stopped ? 'stop' : finish
    const logprobs = this.#logprobs.release(free + held, { ends: end !== null, stopped })
    const echo = this.#echo
    this.#echo = ''
    return { text: echo + free + held, logprobs, finish: end, stop }
  }

  #upToStop(text: string): StopResult {
    const may_stop = this.#tokens > this.#min_tokens
    return may_stop ? this.#stops.push(text) : { text: this.#stops.pass(text), stop: null }
  }
}
