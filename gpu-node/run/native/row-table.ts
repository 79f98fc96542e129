// The rows of a step, packed as the engine reads them: native/kernels/row.h has the same layout, and engine.ts refuses an addon
// whose layout is another. So a row crosses into native code, and to its kernels, in one copy.

/** Each field stands so many bytes behind the beginning of its row. */
export const ROW_LAYOUT = {
  bytes: 88,
  seed: 0,
  token: 8,
  counter: 12,
  temperature: 16,
  top_p: 20,
  min_p: 24,
  repetition_penalty: 28,
  frequency_penalty: 32,
  presence_penalty: 36,
  top_k: 40,
  logprobs: 44,
  output_tokens: 48,
  history: 52,
  bias: 60,
  banned: 68,
  mask: 76,
  scored: 84,
} as const

/** Neighbouring entries of one of a batch's flat lists. */
export interface Span {
  begin: number
  count: number
}

export interface PackedRow {
  seed: bigint // 64 bits
  token: number // index into the step's tokens, of the one whose logits are drawn from
  counter: number // index of the output token being drawn
  temperature: number
  top_p: number
  min_p: number
  repetition_penalty: number
  frequency_penalty: number
  presence_penalty: number
  top_k: number // 0 = off
  logprobs: number // how many alternatives; −1 = none
  output_tokens: number // how many at the end of its history are output
  history: Span // empty where no penalty is set
  bias: Span
  banned: Span
  mask: Span // empty where every token may be drawn
  scored: number // the token whose log-probability is told, in place of one that is drawn; −1 = one is drawn
}

const WORD_BYTES = 4
const SEED_BYTES = 8

export class RowTable {
  /** A batch carries these. */
  readonly bytes: Uint8Array
  readonly #ints: Int32Array
  readonly #floats: Float32Array
  readonly #seeds: BigUint64Array

  constructor(rows: number) {
    const memory = new ArrayBuffer(rows * ROW_LAYOUT.bytes)
    this.bytes = new Uint8Array(memory)
    this.#ints = new Int32Array(memory)
    this.#floats = new Float32Array(memory)
    this.#seeds = new BigUint64Array(memory)
  }

  set(i: number, row: PackedRow): void {
    const at = (i * ROW_LAYOUT.bytes) / WORD_BYTES
    const ints = this.#ints
    const floats = this.#floats
    this.#seeds[(i * ROW_LAYOUT.bytes + ROW_LAYOUT.seed) / SEED_BYTES] = row.seed
    ints[at + ROW_LAYOUT.token / WORD_BYTES] = row.token
    ints[at + ROW_LAYOUT.counter / WORD_BYTES] = row.counter
    floats[at + ROW_LAYOUT.temperature / WORD_BYTES] = row.temperature
    floats[at + ROW_LAYOUT.top_p / WORD_BYTES] = row.top_p
    floats[at + ROW_LAYOUT.min_p / WORD_BYTES] = row.min_p
    floats[at + ROW_LAYOUT.repetition_penalty / WORD_BYTES] = row.repetition_penalty
    floats[at + ROW_LAYOUT.frequency_penalty / WORD_BYTES] = row.frequency_penalty
    floats[at + ROW_LAYOUT.presence_penalty / WORD_BYTES] = row.presence_penalty
    ints[at + ROW_LAYOUT.top_k / WORD_BYTES] = row.top_k
    ints[at + ROW_LAYOUT.logprobs / WORD_BYTES] = row.logprobs
    ints[at + ROW_LAYOUT.output_tokens / WORD_BYTES] = row.output_tokens
    this.#setSpan(at + ROW_LAYOUT.history / WORD_BYTES, row.history)
    this.#setSpan(at + ROW_LAYOUT.bias / WORD_BYTES, row.bias)
    this.#setSpan(at + ROW_LAYOUT.banned / WORD_BYTES, row.banned)
    this.#setSpan(at + ROW_LAYOUT.mask / WORD_BYTES, row.mask)
    ints[at + ROW_LAYOUT.scored / WORD_BYTES] = row.scored
  }

  #setSpan(at: number, { begin, count }: Span): void {
    this.#ints[at] = begin
    this.#ints[at + 1] = count
  }
}

/** The rows of a batch, for an engine that is written in TypeScript. */
export function unpackRows(bytes: Uint8Array): PackedRow[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.byteLength / ROW_LAYOUT.bytes }, (_, i) => unpackRow(view, i * ROW_LAYOUT.bytes))
}

function unpackRow(view: DataView, at: number): PackedRow {
  const int = (offset: number) => view.getInt32(at + offset, true)
  const float = (offset: number) => view.getFloat32(at + offset, true)
  const span = (offset: number) => ({ begin: int(offset), count: int(offset + WORD_BYTES) })
  return {
    seed: view.getBigUint64(at + ROW_LAYOUT.seed, true),
    token: int(ROW_LAYOUT.token),
    counter: int(ROW_LAYOUT.counter),
    temperature: float(ROW_LAYOUT.temperature),
    top_p: float(ROW_LAYOUT.top_p),
    min_p: float(ROW_LAYOUT.min_p),
    repetition_penalty: float(ROW_LAYOUT.repetition_penalty),
    frequency_penalty: float(ROW_LAYOUT.frequency_penalty),
    presence_penalty: float(ROW_LAYOUT.presence_penalty),
    top_k: int(ROW_LAYOUT.top_k),
    logprobs: int(ROW_LAYOUT.logprobs),
    output_tokens: int(ROW_LAYOUT.output_tokens),
    history: span(ROW_LAYOUT.history),
    bias: span(ROW_LAYOUT.bias),
    banned: span(ROW_LAYOUT.banned),
    mask: span(ROW_LAYOUT.mask),
    scored: int(ROW_LAYOUT.scored),
  }
}
