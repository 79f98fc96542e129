// The stream of a response in the background, from any event on. A reader that waits asks the ledger again and again, ever more rarely
// while nothing comes; the teller asks for all who wait at once.

import type { ResponseBody, ResponseEvent } from '../../../contract/public/responses.ts'
import { ask } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import type { Env } from '../../env.ts'
import { openedPart } from '../../sealed-part.ts'
import { streamOf } from '../../stream-of.ts'
import { UNBUFFERED } from '../../unbuffered.ts'
import { type BackgroundResponse, unansweredBody } from './background.ts'

/** What is told before any node has it. */
const OPENING = 2
const PIECES_BYTES_MAX = 1 << 20 // at a time, sealed
const WAIT_MS_MIN = 200
const WAIT_MS_MAX = 2000
const KEEP_ALIVE_MS = 10_000
const OUTAGE_MS_MAX = 60_000 // that a reader waits for the database

export interface Followed extends BackgroundResponse {
  /** The whole answer, where it is stored. */
  stored: () => Promise<ResponseBody | undefined>
}

/** All events from that number on. */
export function streamFrom(env: Env, followed: Followed, first: number): Response {
  const body = streamOf(encoded(textOf(env, followed, first)))
  return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8', ...UNBUFFERED } })
}

async function* encoded(texts: AsyncGenerator<string, void>): AsyncGenerator<Uint8Array, void> {
  const encoder = new TextEncoder()
  for await (const text of texts) yield encoder.encode(text)
}

async function* textOf(env: Env, followed: Followed, first: number): AsyncGenerator<string, void> {
  let next = first
  for (const event of openingOf(followed.head).slice(next)) {
    yield frame(event)
    next += 1
  }
  const pieces = new Pieces(env, followed)
  for (;;) {
    const text = await pieces.next(next)
    if (text === null) break
    if (text !== KEEP_ALIVE) next = pieces.event_count + OPENING
    yield text
  }
  const { job } = pieces
  if (job === null) yield frame({ ...BROKEN, sequence_number: next })
  else yield* endOf({ ...followed, job }, next)
}

const KEEP_ALIVE = ': keep-alive\n\n'
const BROKEN = { type: 'error', code: 'server_error', message: 'The stream cannot be read now.', param: null } as const

function openingOf(response: ResponseBody): ResponseEvent[] {
  return [
    { type: 'response.created', response, sequence_number: 0 },
    { type: 'response.queued', response, sequence_number: 1 },
  ]
}

/** The last event, where it was not among the pieces: nothing was streamed, it ended otherwise, or they are gone. */
async function* endOf(followed: Followed, next: number): AsyncGenerator<string, void> {
  const { state, chunk_count, event_count } = followed.job
  const is_written = chunk_count > 0 && (state === 'completed' || state === 'incomplete')
  const sequence_number = event_count + OPENING - (is_written ? 1 : 0)
  if (next > sequence_number) return
  const response = unansweredBody(followed) ?? (await followed.stored())
  if (!response) yield frame({ ...BROKEN, sequence_number })
  else yield frame({ type: LAST[response.status] ?? 'response.incomplete', response, sequence_number })
}

const LAST: Partial<Record<ResponseBody['status'], 'response.completed' | 'response.failed'>> = {
  completed: 'response.completed',
  failed: 'response.failed',
}

function frame(event: ResponseEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

type Page = Extract<Answer<'follow_job'>, { decision: 'followed' }>

/** The stored pieces of a stream, in order, as they come. */
class Pieces {
  /** As it was when it was last looked at; null where it is not there any more, or nobody can say. */
  job: Page['job'] | null = null
  /** Of what the node wrote, up to the last piece. */
  event_count = 0
  readonly #env: Env
  readonly #of: { account_id: string; job_id: string }
  #chunks: Page['chunks'] = []
  #after = 0
  #wait_ms = WAIT_MS_MIN
  #quiet_since = Date.now()

  constructor(env: Env, { account_id, job_id }: BackgroundResponse) {
    this.#env = env
    this.#of = { account_id, job_id }
  }

  /** The next text, from the event `next` on; null where none comes any more. */
  async next(next: number): Promise<string | null> {
    const seen = Math.max(0, next - OPENING)
    while (this.#chunks.length === 0) {
      const page = await this.#look(seen)
      this.job = page?.job ?? null
      this.#chunks = page?.chunks ?? []
      if (this.#chunks.length > 0) break
      if (!page || !['queued', 'running'].includes(page.job.state)) return null
      if (Date.now() - this.#quiet_since > KEEP_ALIVE_MS) return this.#heard(KEEP_ALIVE)
      await pause(this.#wait_ms)
      this.#wait_ms = Math.min(WAIT_MS_MAX, this.#wait_ms * 1.5)
    }
    this.#wait_ms = WAIT_MS_MIN
    return this.#heard(await this.#open(this.#chunks.shift()!, seen))
  }

  #heard(text: string | null): string | null {
    this.#quiet_since = Date.now()
    return text
  }

  async #open({ number, event_count, text }: Page['chunks'][number], seen: number): Promise<string | null> {
    const { account_id, job_id } = this.#of
    const plain = await openedPart<string>(this.#env, text, { account_id, id: job_id, name: `chunk ${number}` })
    if (plain === null) this.job = null // it was sealed with a secret that was changed since
    this.#after = number + 1
    this.event_count = event_count
    const frames = plain?.split(/(?<=\n\n)/) ?? []
    return plain && frames.slice(Math.max(0, seen - (event_count - frames.length))).join('')
  }

  /** Null where it is gone, or the database was away for too long. */
  async #look(seen: number): Promise<Page | null> {
    const item = { ...this.#of, after: this.#after, seen, bytes_max: PIECES_BYTES_MAX }
    const until = Date.now() + OUTAGE_MS_MAX
    for (;;) {
      const page = await ask(this.#env, 'follow_job', item).catch(() => null)
      if (page) return page.decision === 'followed' ? page : null
      if (Date.now() > until) return null
      await pause(WAIT_MS_MAX)
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
