// The shape of OpenAI's `POST /v1/responses`: items of output, a message and then calls of tools, and a stream of numbered events. Its
// clients follow the events strictly: a response is created, an item and its part are added before they grow, and each is done before the
// one terminal event, without which a stream that was cut looks whole to them.

import { type GenerateRequest, responseBody } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type {
  ResponseBody,
  ResponseEvent,
  ResponseLogprob,
  ResponseOutputItem,
  ResponseOutputText,
} from '../../contract/public/responses.ts'
import type { Candidate, TokenLogprob } from '../run/runner.ts'
import { candidateOf, FAILURE_MESSAGES, openAiFrames } from './openai-shape.ts'
import { callId, type Failure, type Finish, type Piece, type PublicShape, type WholeChoice } from './public-shape.ts'

export function responseShape(request: GenerateRequest): PublicShape {
  const stream = new ResponseStream(request)
  return {
    opening: () => stream.open(),
    delta: (_, piece) => stream.add(piece),
    finish: (_, finish) => stream.finish(finish),
    end: (usage) => stream.end(usage),
    whole: ([choice], usage) => {
      const { text, calls, finish } = choice!
      const output = new Output(request)
      if (text !== '' || calls.length === 0) output.add({ text, logprobs: saidLogprobs(choice!) })
      for (const [index, call] of calls.entries()) output.add({ text: '', logprobs: null, call: { index, ...call } })
      output.close(finish)
      return endedBody(request, { output: output.items, finish, usage })
    },
    error: openAiFrames.error,
    failed: (why) => stream.fail(why),
    frame: (data) => `event: ${(data as ResponseEvent).type}\ndata: ${JSON.stringify(data)}\n\n`,
    last_frame: '', // its terminal event is the last
  }
}

type Message = Extract<ResponseOutputItem, { type: 'message' }>
type Call = Extract<ResponseOutputItem, { type: 'function_call' }>

/** The items of an answer as they grow: one at a time, each whole before the next begins, but perhaps the last. */
class Output {
  readonly items: ResponseOutputItem[] = []
  readonly #id: string

  constructor({ response_id }: GenerateRequest) {
    this.#id = response_id.replace('resp_', '')
  }

  get open(): ResponseOutputItem | undefined {
    const last = this.items.at(-1)
    return last?.status === 'in_progress' ? last : undefined
  }

  /** Whether a piece begins an item. */
  begins({ call }: Piece): boolean {
    return call ? call.name !== undefined : this.open === undefined
  }

  add(piece: Piece): void {
    if (this.begins(piece)) {
      this.close(null)
      this.items.push(piece.call ? this.#newCall(piece.call) : this.#newMessage())
    }
    const open = this.open!
    if (open.type === 'function_call') open.arguments += piece.call?.arguments ?? ''
    else {
      const part = open.content[0]!
      part.text += piece.text
      part.logprobs.push(...logprobsOf(piece))
    }
  }

  /** The end of the open item; `finish` is that of the answer. */
  close(finish: Finish | null): void {
    const { open } = this
    if (!open) return
    const is_cut = finish !== null && (open.type === 'message' ? finish.reason === 'length' : !finish.has_called)
    open.status = is_cut ? 'incomplete' : 'completed'
  }

  // Ids are made of the response's, so that an answer that is asked for again has the same, and an item names its response.
  #newMessage(): Message {
    const id = `msg_${this.#id}`
    return { id, type: 'message', status: 'in_progress', role: 'assistant', content: [outputText('', [])] }
  }

  #newCall({ index, name = '' }: NonNullable<Piece['call']>): Call {
    const id = `fc_${this.#id}_${index}`
    const call_id = `call_${callId(this.#id, { choice: 0, call: index })}`
    return { id, type: 'function_call', status: 'in_progress', call_id, name, arguments: '' }
  }
}

type Unnumbered = ResponseEvent extends infer E ? (E extends ResponseEvent ? Omit<E, 'sequence_number'> : never) : never

class ResponseStream {
  readonly #request: GenerateRequest
  readonly #output: Output
  #count = 0 // of events
  #is_open = false
  #said = 0 // code points of text
  #held: readonly TokenLogprob[] = []
  #finish: Finish = { reason: 'length', stop: null, has_called: false } // where it is ended before it ends by itself

  constructor(request: GenerateRequest) {
    this.#request = request
    this.#output = new Output(request)
    // Of one in the background it was told that it is created and queued before any node had it.
    if (request.asked?.background) this.#count = 2
  }

  open(): ResponseEvent[] {
    if (this.#is_open) return []
    this.#is_open = true
    const response = responseBody(this.#request, { status: 'in_progress' })
    return this.#numbered([
      ...(this.#count === 0 ? [{ type: 'response.created' as const, response }] : []),
      { type: 'response.in_progress', response },
    ])
  }

  // What is held back may be text or the beginning of a call: its log-probabilities wait until that is known. A piece may let go what was
  // held and hold back all that came with it.
  add(piece: Piece): ResponseEvent[] {
    if (piece.call) {
      this.#held = []
      return this.#say(piece)
    }
    this.#said += [...piece.text].length
    const waiting = [...this.#held, ...(piece.logprobs ?? [])]
    const isSaid = ({ offset }: TokenLogprob) => offset < this.#said
    this.#held = waiting.filter((token) => !isSaid(token))
    return piece.text === '' ? [] : this.#say({ ...piece, logprobs: waiting.filter(isSaid) })
  }

  finish(finish: Finish): ResponseEvent[] {
    this.#finish = finish
    const { items, open } = this.#output
    const has_rest = items.length === 0 || (open?.type === 'message' && this.#held.length > 0)
    return [...(has_rest ? this.#say({ text: '', logprobs: this.#held }) : []), ...this.#close(finish)]
  }

  #say(piece: Piece): ResponseEvent[] {
    const begins = this.#output.begins(piece)
    const before = begins ? this.#close(null) : []
    this.#output.add(piece)
    return [...before, ...this.#numbered([...(begins ? this.#added() : []), ...this.#grown(piece)])]
  }

  end(usage: Usage): ResponseEvent[] {
    const opened = this.open()
    const closed = this.#close(this.#finish)
    const response = endedBody(this.#request, { output: this.#output.items, finish: this.#finish, usage })
    const type = response.status === 'completed' ? 'response.completed' : 'response.incomplete'
    return [...opened, ...closed, ...this.#numbered([{ type, response }])]
  }

  fail(why: Failure): ResponseEvent[] {
    const opened = this.open()
    const response = responseBody(this.#request, {
      status: 'failed',
      error: { code: 'server_error', message: FAILURE_MESSAGES[why] },
      output: this.#output.items,
      store: false,
    })
    return [...opened, ...this.#numbered([{ type: 'response.failed', response }])]
  }

  get #place(): number {
    return this.#output.items.length - 1
  }

  #added(): Unnumbered[] {
    const item = this.#output.open!
    const output_index = this.#place
    if (item.type === 'function_call')
      return [{ type: 'response.output_item.added', output_index, item: { ...item, arguments: '' } }]
    const part = outputText('', [])
    return [
      { type: 'response.output_item.added', output_index, item: { ...item, content: [] } },
      { type: 'response.content_part.added', item_id: item.id, output_index, content_index: 0, part },
    ]
  }

  #grown(piece: Piece): Unnumbered[] {
    const { id, type } = this.#output.open!
    const at = { item_id: id, output_index: this.#place }
    if (type === 'function_call') {
      const delta = piece.call?.arguments ?? ''
      return delta === '' ? [] : [{ type: 'response.function_call_arguments.delta', ...at, delta }]
    }
    const logprobs = logprobsOf(piece)
    if (piece.text === '' && logprobs.length === 0) return []
    return [{ type: 'response.output_text.delta', ...at, content_index: 0, delta: piece.text, logprobs }]
  }

  #close(finish: Finish | null): ResponseEvent[] {
    const item = this.#output.open
    if (!item) return []
    this.#output.close(finish)
    const output_index = this.#place
    const at = { item_id: item.id, output_index }
    const done: Unnumbered[] =
      item.type === 'function_call'
        ? [{ type: 'response.function_call_arguments.done', ...at, name: item.name, arguments: item.arguments }]
        : partDone(item.content[0]!, { ...at, content_index: 0 })
    return this.#numbered([...done, { type: 'response.output_item.done', output_index, item }])
  }

  #numbered(events: Unnumbered[]): ResponseEvent[] {
    return events.map((event) => ({ ...event, sequence_number: this.#count++ }) as ResponseEvent)
  }
}

function partDone(
  part: ResponseOutputText,
  at: { item_id: string; output_index: number; content_index: 0 },
): Unnumbered[] {
  const { text, logprobs } = part
  return [
    { type: 'response.output_text.done', ...at, text, logprobs },
    { type: 'response.content_part.done', ...at, part },
  ]
}

function endedBody(
  request: GenerateRequest,
  { output, finish, usage }: { output: ResponseOutputItem[]; finish: Finish; usage: Usage },
): ResponseBody {
  const is_whole = finish.reason === 'stop'
  return responseBody(request, {
    status: is_whole ? 'completed' : 'incomplete',
    completed_at: is_whole ? Math.floor(Date.now() / 1000) : null,
    incomplete_details: is_whole ? null : { reason: 'max_output_tokens' },
    output,
    usage: usageOf(usage),
  })
}

function usageOf({ prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details }: Usage) {
  const { cached_tokens } = prompt_tokens_details
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: { cached_tokens, cache_write_tokens: 0 as const },
    output_tokens: completion_tokens,
    output_tokens_details: { reasoning_tokens: 0 as const },
    total_tokens,
  }
}

function outputText(text: string, logprobs: ResponseLogprob[]): ResponseOutputText {
  return { type: 'output_text', text, annotations: [], logprobs }
}

/** Those of the text, where calls follow it. */
function saidLogprobs({ text, logprobs, calls }: WholeChoice): WholeChoice['logprobs'] {
  if (logprobs === null || calls.length === 0) return logprobs
  const length = [...text].length
  return logprobs.filter(({ offset }) => offset < length)
}

function logprobsOf({ logprobs }: Piece): ResponseLogprob[] {
  return (logprobs ?? []).map((token) => ({ ...candidate(token), top_logprobs: token.top.map(candidate) }))
}

function candidate(token: Candidate | TokenLogprob) {
  const { bytes, ...told } = candidateOf(token)
  return { ...told, bytes: bytes ?? [] } // of a token without text, too
}
