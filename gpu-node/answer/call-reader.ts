// Reads one choice's text, as it comes, for calls of tools: what is said, and each call's name and arguments. A node's grammar holds its
// text to that form; what only looks like it is text.

import { CALL_BEGIN, CALL_SEPARATOR, CALL_TAIL, callHead } from '../../contract/internal/tool-call.ts'
import { heldLength } from '../held-length.ts'

export type Part =
  | { kind: 'text'; text: string }
  | { kind: 'call'; index: number; name: string }
  | { kind: 'arguments'; index: number; text: string }

export class CallReader {
  readonly #heads: readonly (readonly [head: string, name: string])[]
  #state: 'text' | 'head' | 'arguments' | 'tail' = 'text'
  #unread = ''
  #separator = '' // before a head, until it is known whether it is one
  #object = new ObjectEnd()
  #calls = 0 // that have begun

  constructor(names: readonly string[]) {
    this.#heads = names.map((name) => [callHead(name), name] as const)
  }

  push(text: string): Part[] {
    this.#unread += text
    const parts: Part[] = []
    while (this.#step(parts));
    return parts
  }

  /** What was held back, once it is known that nothing follows. Behind a call it was the beginning of another, and no text. */
  flush(): Part[] {
    const is_text = this.#calls === 0
    const held = is_text ? this.#takeSeparator() + this.#take(this.#unread.length) : ''
    return held === '' ? [] : [{ kind: 'text', text: held }]
  }

  /** Whether there were calls, and each is whole. */
  get has_called(): boolean {
    return this.#calls > 0 && this.#state === 'text'
  }

  /** Says whether there may be more to read. */
  #step(parts: Part[]): boolean {
    switch (this.#state) {
      case 'text':
        return this.#readText(parts)
      case 'head':
        return this.#readHead(parts)
      case 'arguments':
        return this.#readArguments(parts)
      case 'tail':
        return this.#readTail()
    }
  }

  #readText(parts: Part[]): boolean {
    const begin = this.#unread.indexOf(CALL_BEGIN)
    const said = this.#take(begin >= 0 ? begin : this.#unread.length - this.#heldInText())
    this.#separator = begin >= 0 && said.endsWith(CALL_SEPARATOR) ? CALL_SEPARATOR : ''
    const text = said.slice(0, said.length - this.#separator.length)
    if (text !== '') parts.push({ kind: 'text', text })
    if (begin >= 0) this.#state = 'head'
    return begin >= 0
  }

  #heldInText(): number {
    return Math.max(heldLength(this.#unread, CALL_SEPARATOR + CALL_BEGIN), heldLength(this.#unread, CALL_BEGIN))
  }

  #readHead(parts: Part[]): boolean {
    const found = this.#heads.find(([head]) => this.#unread.startsWith(head))
    if (found) {
      const [head, name] = found
      this.#take(head.length)
      this.#takeSeparator()
      parts.push({ kind: 'call', index: this.#calls++, name })
      this.#object = new ObjectEnd()
      this.#state = 'arguments'
      return true
    }
    if (this.#heads.some(([head]) => head.startsWith(this.#unread))) return false
    parts.push({ kind: 'text', text: this.#takeSeparator() + this.#take(CALL_BEGIN.length) })
    this.#state = 'text'
    return true
  }

  #readArguments(parts: Part[]): boolean {
    const text = this.#take(this.#object.lengthIn(this.#unread))
    if (text !== '') parts.push({ kind: 'arguments', index: this.#calls - 1, text })
    if (this.#object.is_over) this.#state = 'tail'
    return this.#object.is_over
  }

  #readTail(): boolean {
    if (CALL_TAIL.startsWith(this.#unread) && this.#unread !== CALL_TAIL) return false
    if (this.#unread.startsWith(CALL_TAIL)) this.#take(CALL_TAIL.length)
    this.#state = 'text'
    return true
  }

  #takeSeparator(): string {
    const taken = this.#separator
    this.#separator = ''
    return taken
  }

  #take(length: number): string {
    const taken = this.#unread.slice(0, length)
    this.#unread = this.#unread.slice(length)
    return taken
  }
}

/** Finds where a JSON object ends that comes in pieces. */
class ObjectEnd {
  #depth = 0
  #in_string = false
  #is_escaped = false
  is_over = false

  /** How much of a piece belongs to it. */
  lengthIn(piece: string): number {
    for (let i = 0; i < piece.length; i++) {
      this.#read(piece[i]!)
      if (this.is_over) return i + 1
    }
    return piece.length
  }

  #read(character: string): void {
    if (this.#in_string) {
      if (character === '"' && !this.#is_escaped) this.#in_string = false
      this.#is_escaped = character === '\\' && !this.#is_escaped
    } else if (character === '"') this.#in_string = true
    else if (character === '{') this.#depth++
    else if (character === '}') this.is_over = --this.#depth <= 0
  }
}
