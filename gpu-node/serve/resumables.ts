// The streams of this node that may be resumed: those that run, and for a while those that have just ended, whose last bytes may not have
// come to their clients.

import type { Resumption } from '../../contract/internal/question.ts'
import { Refusal } from '../refusal.ts'
import type { Accepted } from './acceptance.ts'
import { type ClientsOptions, type Outgoing, openClient } from './open-client.ts'
import { Resumable } from './resumable.ts'
import type { Streams } from './streams.ts'

const ENDED_LENGTH_MAX = 64 << 20 // UTF-16 units, of all that have ended

export interface ResumablesOptions extends ClientsOptions {
  streams: Streams
}

export class Resumables {
  readonly #options: ResumablesOptions
  readonly #streams = new Map<string, Resumable>() // the first begun first
  readonly #ended = new Map<string, Resumable>() // of these, the first ended first
  #ended_length = 0
  #is_closed = false

  constructor(options: ResumablesOptions) {
    this.#options = options
  }

  start({ generation, ticket }: Accepted, outgoing: Outgoing, on_ended: () => void): void {
    const { streams } = this.#options
    const name = nameOf(generation)
    const { content_type } = generation.answer
    const stream = new Resumable({
      generation,
      resume_ms_max: ticket.resume_ms_max!,
      open: (socket, told) => openClient(this.#options, socket, { content_type, streams: true, ...told }),
      on_lost: () => {
        this.#streams.delete(name)
        streams.stop(generation, 'client_gone')
      },
      on_ended: () => {
        on_ended()
        if (this.#streams.get(name) === stream) this.#remember(name, stream, ticket.resume_ms_max!)
      },
    })
    this.#streams.set(name, stream)
    if (this.#is_closed) stream.letGo()
    stream.attach(outgoing)
    streams.start(generation, stream)
  }

  /** Refuses `no_stream`. */
  resume(resumption: Resumption, outgoing: Outgoing): void {
    const stream = this.#streams.get(nameOf(resumption))
    if (!stream?.mayAttach(resumption)) throw new Refusal('no_stream', 'There is no such stream here to be resumed.')
    stream.attach(outgoing)
  }

  /** Ends the first that nobody reads, where somebody else needs its room; false where there is none. */
  endOneHeld(): boolean {
    for (const stream of this.#streams.values()) {
      if (!stream.is_held) continue
      stream.giveUp()
      return true
    }
    return false
  }

  /** From now on a stream ends with its client. */
  close(): void {
    this.#is_closed = true
    while (this.endOneHeld());
    for (const stream of this.#streams.values()) stream.letGo()
  }

  #remember(name: string, stream: Resumable, ms: number): void {
    this.#ended.set(name, stream)
    this.#ended_length += stream.said_length
    while (this.#ended_length > ENDED_LENGTH_MAX) this.#forget(this.#ended.keys().next().value!)
    setTimeout(() => this.#forget(name), ms).unref()
  }

  #forget(name: string): void {
    this.#ended_length -= this.#ended.get(name)?.said_length ?? 0
    this.#ended.delete(name)
    this.#streams.delete(name)
  }
}

function nameOf({ request_id, attempt }: Pick<Resumption, 'request_id' | 'attempt'>): string {
  return `${request_id} ${attempt}`
}
