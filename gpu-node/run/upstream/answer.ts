// An engine's answer as chunks, whatever it sends: events, one JSON instead of them, an error, or bytes that are none of these. Whoever
// stops reading, or fails, closes the connection: that is how an engine learns that nobody wants the rest.

import { createParser } from 'eventsource-parser'
import type { Dispatcher } from 'undici'
import { type Chunk, chunkOf } from './chunk.ts'
import { faultOf, UpstreamError } from './upstream-error.ts'

/** The head of an answer, and its bytes as they come. */
export type Answer = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

/** `end` says that nothing follows; an answer that ends without it was cut. */
export type Part = Chunk | 'end'

const EVENT_LENGTH_MAX = 8 << 20 // UTF-16 units
const ERROR_BYTES_MAX = 64 << 10
const DONE = '[DONE]'

export async function* partsOf(answer: Answer): AsyncGenerator<Part> {
  await refuseFailure(answer)
  const type = headerOf(answer, 'content-type').toLowerCase()
  if (!/^(identity)?$/i.test(headerOf(answer, 'content-encoding')))
    throw new UpstreamError('broken', 'the answer is compressed, which nobody asked for')
  if (type.includes('json')) yield* wholeOf(answer)
  else if (/event-stream|text\/plain|^$/.test(type)) yield* eventsOf(answer)
  else throw new UpstreamError('broken', 'the answer is no stream of events')
}

async function refuseFailure({ statusCode, body }: Answer): Promise<void> {
  if (statusCode >= 200 && statusCode < 300) return
  const said = await textOf(body, ERROR_BYTES_MAX).catch(() => '')
  throw new UpstreamError(faultOf(statusCode, said), `the answer has the status ${statusCode}`)
}

async function* eventsOf({ body }: Answer): AsyncGenerator<Part> {
  const decoder = new TextDecoder()
  let data: string[] = []
  let is_too_long = false
  const parser = createParser({
    maxBufferSize: EVENT_LENGTH_MAX,
    onEvent: (event) => data.push(event.data),
    onError: ({ type }) => {
      is_too_long ||= type === 'max-buffer-size-exceeded'
    },
  })
  const taken = function* (): Generator<Part> {
    const ready = data
    data = []
    for (const one of ready) {
      if (one.trim() === DONE) return yield 'end'
      if (one.trim() !== '') yield chunkOf(one)
    }
    if (is_too_long) throw new UpstreamError('broken', 'an event never ends')
  }
  for await (const bytes of body) {
    parser.feed(decoder.decode(bytes as Uint8Array, { stream: true }))
    yield* taken()
  }
  parser.feed(`${decoder.decode()}\n\n`) // a last event whose empty line is missing
  yield* taken()
}

/** Of one who streams nothing. */
async function* wholeOf({ body }: Answer): AsyncGenerator<Part> {
  yield chunkOf(await textOf(body, EVENT_LENGTH_MAX))
  yield 'end'
}

/** All of it, where that is no more than so many bytes. */
export async function textOf(body: Answer['body'], bytes_max: number): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of body) {
    bytes += (piece as Uint8Array).length
    if (bytes > bytes_max) throw new UpstreamError('broken', 'the answer never ends')
    pieces.push(piece as Uint8Array)
  }
  return Buffer.concat(pieces).toString()
}

function headerOf({ headers }: Answer, name: string): string {
  return [headers[name] ?? ''].flat().join()
}
