// The chat template of a model's folder, for chats whose format only that folder knows. What is rendered becomes special tokens and text
// as a tokenizer of Hugging Face splits it, except that what a caller wrote is text, whatever it spells. A template is a program: it runs
// on a thread of its own, within a deadline and a bound of memory, and loses the thread where it exceeds one.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { ChatPart, PlainPart } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import type { Piece } from '../tokenizer/sentencepiece-file.ts'
import type { RenderData, Rendered, Rendering } from './render-worker.ts'

const RENDER_MS_MAX = 1000
const MEMORY_MB_MAX = 128
const LENGTH_MAX = 8 << 20 // UTF-16 units of a rendered chat
const WAITING_MAX = 256

export interface ChatTemplateOptions {
  source: string
  tokens: Record<string, string> // the named ones, such as bos_token
  pieces: readonly Piece[]
  render_ms_max?: number
}

export class ChatTemplate {
  readonly #data: RenderData
  readonly #render_ms_max: number
  readonly #specials: SpecialTexts
  #worker: Promise<Worker> | null = null
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor({ source, tokens, pieces, render_ms_max = RENDER_MS_MAX }: ChatTemplateOptions) {
    this.#data = { source, tokens, length_max: LENGTH_MAX }
    this.#render_ms_max = render_ms_max
    this.#specials = new SpecialTexts(pieces)
  }

  /** A chat as the parts of a prompt. Refuses `invalid_messages` where the template does, or fails. */
  async parts({ chat, is_continued }: ChatPart): Promise<PlainPart[]> {
    const mark = markBeside(chat.map(({ text }) => text))
    const messages = chat.map(({ role, text }) => ({ role, content: this.#specials.broken(text, mark) }))
    const text = await this.#inTurn({ messages, add_generation_prompt: !is_continued })
    return this.#specials.split(is_continued ? upToEndOf(text, messages.at(-1)!.content) : text, mark)
  }

  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = null
    await (await worker?.catch(() => null))?.terminate()
  }

  async #inTurn(rendering: Rendering): Promise<string> {
    if (this.#waiting >= WAITING_MAX)
      throw new Refusal('overloaded', 'Too many chats wait to be put into their format.', { retry_after_s: 1 })
    this.#waiting++
    const answer = this.#last.then(() => this.#render(rendering))
    this.#last = answer.catch(() => {})
    const rendered = await answer.finally(() => this.#waiting--)
    if ('text' in rendered) return rendered.text
    throw invalidMessages(rendered.refused)
  }

  async #render(rendering: Rendering): Promise<Rendered> {
    const worker = await this.#running()
    return new Promise((resolve) => {
      const done = (rendered: Rendered) => {
        clearTimeout(deadline)
        worker.off('message', done).off('exit', failed)
        resolve(rendered)
      }
      const failed = () => {
        this.#worker = null
        done({ refused: 'it takes too long or too much memory' })
      }
      const deadline = setTimeout(() => worker.terminate(), this.#render_ms_max)
      worker.on('message', done).on('exit', failed)
      worker.postMessage(rendering)
    })
  }

  #running(): Promise<Worker> {
    this.#worker ??= startWorker(this.#data)
    return this.#worker
  }
}

// It starts with the first chat, says when it is ready, and does not keep the process.
async function startWorker(data: RenderData): Promise<Worker> {
  const worker = new Worker(new URL('./render-worker.ts', import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX },
  })
  worker.on('error', () => {}) // its exit follows
  await once(worker, 'message')
  worker.unref()
  return worker
}

function upToEndOf(text: string, content: string): string {
  const said = content.trim() // templates may trim what they write
  const at = text.lastIndexOf(said)
  if (at < 0) throw invalidMessages('it does not end with the last message, so that it cannot be continued')
  return text.slice(0, text.startsWith(content, at) ? at + content.length : at + said.length)
}

function invalidMessages(why: string): Refusal {
  return new Refusal('invalid_messages', `The model's chat template does not take these messages: ${why}.`, {
    param: 'messages',
  })
}

const NONCHARACTERS = Array.from({ length: 32 }, (_, i) => String.fromCharCode(0xfdd0 + i))

/** A text that none of these has in it, nor a part of it. */
function markBeside(texts: readonly string[]): string {
  const free = NONCHARACTERS.find((one) => !texts.some((text) => text.includes(one)))
  if (free !== undefined) return free
  throw invalidMessages('they have every character that marks what a caller wrote')
}

/** The texts of special tokens: cut out of what a template wrote, and kept as text in what a caller did. */
class SpecialTexts {
  readonly #ids = new Map<string, number>()
  readonly #pieces: readonly Piece[]
  readonly #pattern: RegExp | null

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces
    for (const [id, { text, type }] of pieces.entries()) if (type === 'control') this.#ids.set(text, id)
    const texts = [...this.#ids.keys()].sort((a, b) => b.length - a.length)
    this.#pattern = texts.length > 0 ? new RegExp(texts.map(RegExp.escape).join('|'), 'g') : null
  }

  /** The same text, with a mark in each special one that is whole in it, and in one that its end begins. */
  broken(text: string, mark: string): string {
    if (!this.#pattern) return text
    const whole = text.replace(this.#pattern, (special) => special[0] + mark + special.slice(1))
    const begun = this.#begunAt(whole)
    return begun === null ? whole : whole.slice(0, begun + 1) + mark + whole.slice(begun + 1)
  }

  #begunAt(text: string): number | null {
    const starts = [...this.#ids.keys()].flatMap((special) => {
      const lengths = Array.from({ length: special.length - 1 }, (_, i) => special.length - 1 - i)
      const length = lengths.find((length) => text.endsWith(special.slice(0, length)))
      return length === undefined ? [] : [text.length - length]
    })
    return starts.length > 0 ? Math.min(...starts) : null
  }

  split(text: string, mark: string): PlainPart[] {
    const parts: PlainPart[] = []
    let begin = 0
    let strips = false
    const append = (end: number, strips_right: boolean) => {
      const between = text.slice(begin, end).replaceAll(mark, '')
      const left = strips ? between.trimStart() : between
      const kept = strips_right ? left.trimEnd() : left
      if (kept !== '') parts.push({ text: kept })
    }
    for (const { 0: special, index } of this.#pattern ? text.matchAll(this.#pattern) : []) {
      const id = this.#ids.get(special)!
      const { takes_left = false, takes_right = false } = this.#pieces[id]!
      append(index, takes_left)
      parts.push({ tokens: [id] })
      begin = index + special.length
      strips = takes_right
    }
    append(text.length, false)
    return parts
  }
}
