// A reader of the pickles that torch.save writes, and of nothing more: protocol 2, 26 opcodes, and the globals its caller
// names. It executes nothing: a global is one of ours or an error, and no opcode imports, constructs or calls anything
// else. Time and memory are bounded by the length of the pickle. Opcodes: Lib/pickletools.py of CPython.

import { ModelError } from '../model-error.ts'

/** A dictionary of Python; only strings are keys in what we read. */
export type PickleDictionary = Map<string, PickleValue>
export type PickleValue = null | boolean | number | string | readonly PickleValue[] | PickleDictionary | PickleObject

/** What globals stand for and return. */
export interface PickleObject {
  readonly kind: string
}

/** A global that may be called; others are only named. */
export interface PickleFunction extends PickleObject {
  kind: 'function'
  call(args: readonly PickleValue[]): PickleValue
}

export interface PickleOptions {
  path: string // for messages
  globals: ReadonlyMap<string, PickleObject> // by "module name"
  persistent(id: PickleValue): PickleValue
}

const STACK_MAX = 1 << 16
const MEMO_MAX = 1 << 20

/** The one value of a pickle. */
export function readPickle(bytes: Buffer, options: PickleOptions): PickleValue {
  const machine = new Machine(bytes, options)
  if (machine.byte() !== 0x80 || machine.byte() !== 2) throw forbidden(options.path, 'another protocol than 2')
  for (;;) {
    const opcode = machine.byte()
    if (opcode === STOP) return machine.result()
    const run = OPCODES.get(opcode)
    if (!run) throw forbidden(options.path, `the opcode 0x${opcode.toString(16).padStart(2, '0')}`)
    run(machine)
  }
}

const code = (character: string) => character.charCodeAt(0)
const STOP = code('.')

// The whitelist.
const OPCODES = new Map<number, (machine: Machine) => void>([
  [code('('), (m) => m.mark()],
  [code('N'), (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [code('K'), (m) => m.push(m.byte())],
  [code('M'), (m) => m.push(m.take(2).readUInt16LE())],
  [code('J'), (m) => m.push(m.take(4).readInt32LE())],
  [0x8a, (m) => m.push(m.long())],
  [code('X'), (m) => m.push(m.text(m.take(m.take(4).readUInt32LE())))],
  [code(')'), (m) => m.push([])],
  [0x85, (m) => m.push(m.popMany(1))],
  [0x86, (m) => m.push(m.popMany(2))],
  [0x87, (m) => m.push(m.popMany(3))],
  [code('t'), (m) => m.push(m.popToMark())],
  [code('}'), (m) => m.push(new Map())],
  [code('s'), (m) => m.setItems(m.popMany(2))],
  [code('u'), (m) => m.setItems(m.popToMark())],
  [code('q'), (m) => m.remember(m.byte())],
  [code('r'), (m) => m.remember(m.take(4).readUInt32LE())],
  [code('h'), (m) => m.recall(m.byte())],
  [code('j'), (m) => m.recall(m.take(4).readUInt32LE())],
  [code('c'), (m) => m.push(m.global())],
  [code('Q'), (m) => m.push(m.options.persistent(m.pop()))],
  [code('R'), (m) => m.reduce()],
  [code('b'), (m) => m.build()],
])

class Machine {
  readonly options: PickleOptions
  readonly #bytes: Buffer
  #at = 0
  readonly #stack: PickleValue[] = []
  readonly #marks: number[] = []
  readonly #memo = new Map<number, PickleValue>()

  constructor(bytes: Buffer, options: PickleOptions) {
    this.#bytes = bytes
    this.options = options
  }

  byte(): number {
    return this.take(1)[0]!
  }

  take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw this.broken('it ends too early')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  text(bytes: Buffer): string {
    const text = bytes.toString('utf8')
    if (Buffer.byteLength(text) !== bytes.length || text.includes('\ufffd')) throw this.broken('a text is not UTF-8')
    return text
  }

  // Two's complement of so many bytes. Nothing that torch writes needs more than eight.
  long(): number {
    const bytes = this.take(this.byte())
    if (bytes.length > 8) throw this.broken('a number of more than 64 bits')
    const value = bytes.reduceRight((high, byte) => (high << 8n) | BigInt(byte), 0n)
    return Number(BigInt.asIntN(8 * bytes.length, value))
  }

  push(value: PickleValue): void {
    if (this.#stack.length >= STACK_MAX) throw this.broken('its stack grows too large')
    this.#stack.push(value)
  }

  pop(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw this.broken('its stack is empty')
    return this.#stack.pop()!
  }

  popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.pop()).reverse()
  }

  mark(): void {
    if (this.#marks.length >= STACK_MAX) throw this.broken('its stack grows too large')
    this.#marks.push(this.#stack.length)
  }

  popToMark(): PickleValue[] {
    const mark = this.#marks.pop()
    if (mark === undefined) throw this.broken('a mark is missing')
    return this.#stack.splice(mark)
  }

  setItems(items: PickleValue[]): void {
    const dictionary = this.pop()
    if (!(dictionary instanceof Map) || items.length % 2 !== 0) throw this.broken('it fills what is no dictionary')
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!
      if (typeof key !== 'string') throw this.broken('a key is not a text')
      if (dictionary.has(key)) throw new ModelError('weights_duplicate_tensor', `${this.options.path} has ${key} twice`)
      dictionary.set(key, items[i + 1]!)
    }
    this.push(dictionary)
  }

  remember(index: number): void {
    if (this.#memo.size >= MEMO_MAX) throw this.broken('it remembers too much')
    const top = this.pop()
    this.#memo.set(index, top)
    this.push(top)
  }

  recall(index: number): void {
    const value = this.#memo.get(index)
    if (value === undefined) throw this.broken('it recalls what it never remembered')
    this.push(value)
  }

  global(): PickleObject {
    const name = `${this.#line()} ${this.#line()}`
    const known = this.options.globals.get(name)
    if (!known) throw forbidden(this.options.path, `the global ${JSON.stringify(name.replace(' ', '.'))}`)
    return known
  }

  reduce(): void {
    const [called, args] = this.popMany(2)
    if (!isObject(called!) || called.kind !== 'function' || !Array.isArray(args))
      throw this.broken('it calls what is no function')
    this.push((called as PickleFunction).call(args))
  }

  // The state that torch gives its OrderedDict: versions of modules, of no use here.
  build(): void {
    const [built, state] = this.popMany(2)
    if (!(built instanceof Map) || !(state instanceof Map)) throw this.broken('it sets the state of what has none')
    this.push(built)
  }

  result(): PickleValue {
    const value = this.pop()
    if (this.#stack.length > 0 || this.#at < this.#bytes.length) throw this.broken('something is left over')
    return value
  }

  broken(what: string): ModelError {
    return new ModelError(
      'weights_pickle_invalid',
      `${this.options.path}: its pickle is broken at byte ${this.#at}: ${what}`,
    )
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at)
    if (end < 0 || end - this.#at > 255) throw this.broken('a name does not end')
    const line = this.text(this.take(end - this.#at))
    this.take(1)
    return line
  }
}

export function isObject(value: PickleValue): value is PickleObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map)
}

function forbidden(path: string, what: string): ModelError {
  return new ModelError(
    'weights_pickle_forbidden',
    `${path}: its pickle uses ${what}, which torch.save does not write for a state_dict; nothing of it was executed`,
  )
}
