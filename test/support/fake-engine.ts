// An engine without a network. The next token is a hash of what the sequence's own KV blocks hold, position by position,
// so a wrong block table, position, token or neighbour changes the output.

import assert from 'node:assert/strict'
import { LOGPROBS_MAX } from '../../contract/internal/generation.ts'
import { BLOCK_TOKENS } from '../../gpu-node/run/native/block-pool.ts'
import {
  type Engine,
  type EngineInfo,
  NOTHING_DRAWN,
  type StepBatch,
  type StepResult,
} from '../../gpu-node/run/native/engine.ts'
import { type PackedRow, unpackRows } from '../../gpu-node/run/native/row-table.ts'
import type { RowSampling } from '../../gpu-node/run/native/sampling.ts'
import type { Sequence } from '../../gpu-node/run/native/sequence.ts'

export interface FakeEngineOptions {
  blocks: number
  vocab_size: number
  eos_id?: number
  eos_one_in?: number // how often a draw is the eos; never by default
  step_ms?: number
  breaks_at?: number // a sequence that has this id is broken: it draws nothing any more
  period_tokens?: number // three of four draws repeat what stands so far back: something for prompt lookup to find
}

export class FakeEngine implements Engine {
  readonly info: EngineInfo = { device: 'fake', weight_bytes: 0, kv_bytes: 0, parameters: 0, blocks: 0 }
  readonly #options: FakeEngineOptions
  readonly #kv: Int32Array // (blocks, BLOCK_TOKENS) hash of token and position; −1 = never written
  readonly #ids: Int32Array // (blocks, BLOCK_TOKENS)
  fail_next: Error | null = null
  steps = 0
  #drawn = new Int32Array() // by the step before
  #scores = new Map<number, number>() // by row of that step, where it scores
  #mayEnd: Promise<void> = Promise.resolve()

  constructor(options: FakeEngineOptions) {
    this.#options = options
    this.#kv = new Int32Array(options.blocks * BLOCK_TOKENS).fill(-1)
    this.#ids = new Int32Array(this.#kv.length)
  }

  async step(batch: StepBatch): Promise<StepResult> {
    const tokens = this.compute(batch)
    const logprobs = this.logprobs(batch, tokens)
    await new Promise((resolve) =>
      this.#options.step_ms === undefined ? setImmediate(resolve) : setTimeout(resolve, this.#options.step_ms),
    )
    await this.#mayEnd
    if (this.fail_next) throw this.fail_next
    return { tokens, ...logprobs, logits: null, seconds: 0 }
  }

  /** Of the tokens of the last step. One that is drawn is as likely as its id says, and every next id half a nat less so. */
  logprobs(batch: StepBatch, tokens: Int32Array) {
    const rows = unpackRows(batch.rows)
    const any = rows.some((row) => row.logprobs > 0)
    const top_ids = new Int32Array(any ? tokens.length * LOGPROBS_MAX : 0).fill(-1)
    const top_logprobs = new Float32Array(top_ids.length).fill(-1)
    const logprobs = Float32Array.from(tokens, (token, row) => this.#scores.get(row) ?? -(token % 8))
    for (const [row, { logprobs: count }] of rows.entries()) {
      for (let k = 0; k < count; k++) {
        top_ids[row * LOGPROBS_MAX + k] = (tokens[row]! + k) % this.#options.vocab_size
        top_logprobs[row * LOGPROBS_MAX + k] = logprobs[row]! - k / 2
      }
    }
    return { logprobs, top_ids, top_logprobs }
  }

  /** The tokens a step draws, at once. */
  compute(batch: StepBatch): Int32Array {
    this.steps++
    const rows = unpackRows(batch.rows)
    this.#checkShapes(batch, rows)
    const drawn: number[] = []
    this.#scores = new Map()
    let token_at = 0
    let block_at = 0
    const idOf = (token: number) => (token < 0 ? Math.max(this.#drawn[-1 - token] ?? Number.NaN, 0) : token)
    for (const [i, count] of batch.token_counts.entries()) {
      const table = batch.block_tables.subarray(block_at, block_at + batch.block_counts[i]!)
      block_at += table.length
      for (let k = 0; k < count; k++, token_at++) {
        const slot = this.#slot(table, batch.starts[i]! + k)
        const id = idOf(batch.tokens[token_at]!)
        assert(!Number.isNaN(id), 'a reference is to a row of the step before')
        this.#kv[slot] = mix(id, batch.starts[i]! + k)
        this.#ids[slot] = id
        const row = rows[drawn.length]
        if (row?.token !== token_at) continue
        const position = batch.starts[i]! + k
        if (row.scored >= 0) this.#scores.set(drawn.length, scoreAfter(this.#hash(17, table, position), row.scored))
        drawn.push(row.scored >= 0 ? row.scored : this.#draw(batch, row, table, position))
      }
    }
    assert.equal(drawn.length, rows.length, 'every row lies in the batch, in order')
    this.#drawn = Int32Array.from(drawn)
    return this.#drawn
  }

  /** No step ends from now on, until what is returned is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#mayEnd = promise
    return resolve
  }

  async close(): Promise<void> {}

  #draw(batch: StepBatch, row: PackedRow, table: Int32Array, position: number): number {
    const hash = this.#hash(firstHash(row, row.counter), table, position)
    const idAt = (p: number) => this.#ids[this.#slot(table, p)]!
    for (let p = 0; p <= position; p++) if (idAt(p) === this.#options.breaks_at) return NOTHING_DRAWN
    return this.#afterBiasAndBans(batch, row, nextToken(hash, position + 1, idAt, this.#options))
  }

  #hash(first: number, table: Int32Array, position: number): number {
    let hash = first
    for (let p = 0; p <= position; p++) hash = mix(hash, this.#kv[this.#slot(table, p)]!)
    return hash
  }

  // A bias of 100 decides; of what is banned or not in the mask the next id is drawn.
  #afterBiasAndBans(batch: StepBatch, { bias, banned: bans, mask }: PackedRow, token: number): number {
    const values = batch.bias_values.subarray(bias.begin, bias.begin + bias.count)
    const decided = values.indexOf(100)
    const banned = batch.banned_ids.subarray(bans.begin, bans.begin + bans.count)
    let drawn = decided < 0 ? token : batch.bias_ids[bias.begin + decided]!
    const words = batch.mask_words.subarray(mask.begin, mask.begin + mask.count)
    const isLeftOut = (id: number) => words.length > 0 && !((words[id >> 5]! >> (id & 31)) & 1)
    while (banned.includes(drawn) || isLeftOut(drawn)) drawn = (drawn + 1) % this.#options.vocab_size
    return drawn
  }

  #slot(table: Int32Array, position: number): number {
    const block = table[Math.floor(position / BLOCK_TOKENS)]
    assert(block !== undefined && block >= 0 && block < this.#options.blocks, `position ${position} has no block`)
    return block * BLOCK_TOKENS + (position % BLOCK_TOKENS)
  }

  #checkShapes(batch: StepBatch, rows: PackedRow[]): void {
    const sequences = batch.token_counts.length
    assert.equal(batch.starts.length, sequences)
    assert.equal(batch.block_counts.length, sequences)
    assert.equal(
      batch.tokens.length,
      batch.token_counts.reduce((a, b) => a + b, 0),
    )
    assert.equal(
      batch.block_tables.length,
      batch.block_counts.reduce((a, b) => a + b, 0),
    )
    assert.equal(batch.bias_values.length, batch.bias_ids.length)
    for (const [list, of] of [
      [batch.history, 'history'],
      [batch.bias_ids, 'bias'],
      [batch.banned_ids, 'banned'],
      [batch.mask_words, 'mask'],
    ] as const) {
      let end = 0
      for (const row of rows) {
        assert.equal(row[of].begin, end)
        end += row[of].count
      }
      assert.equal(list.length, end)
    }
  }
}

/** The output a sequence must have, from its tokens alone: no blocks, no batch, no scheduler. */
export function expectedOutput(
  { prompt_tokens, tokens, sampling, output_tokens_max, stop_ids }: Sequence,
  options: FakeEngineOptions,
): number[] {
  const prompt = tokens.slice(0, prompt_tokens)
  const output: number[] = []
  while (output.length < output_tokens_max && !stop_ids.has(output.at(-1) ?? -1)) {
    const first = firstHash(sampling, output.length)
    const hash = [...prompt, ...output].reduce((hash, token, position) => mix(hash, mix(token, position)), first)
    const all = [...prompt, ...output]
    output.push(nextToken(hash, all.length, (position) => all[position]!, options))
  }
  return output
}

/** The log-probabilities that the tokens of a prompt must have, from the second on. */
export function expectedScores(prompt: readonly number[]): number[] {
  let hash = 17
  return prompt.slice(1).map((token, position) => {
    hash = mix(hash, mix(prompt[position]!, position))
    return scoreAfter(hash, token)
  })
}

function scoreAfter(hash: number, token: number): number {
  return -((hash ^ token) % 4096) / 256
}

function firstHash({ temperature, seed }: Pick<RowSampling, 'temperature' | 'seed'>, counter: number): number {
  return temperature === 0 ? 17 : mix(Number(seed % 1000003n), counter)
}

function nextToken(
  hash: number,
  position: number,
  idAt: (position: number) => number,
  options: FakeEngineOptions,
): number {
  const { period_tokens = Number.POSITIVE_INFINITY, eos_id } = options
  const token = tokenOf(hash, options)
  return token !== eos_id && hash % 4 > 0 && position >= period_tokens ? idAt(position - period_tokens) : token
}

function tokenOf(hash: number, { vocab_size, eos_id, eos_one_in }: FakeEngineOptions): number {
  if (eos_id !== undefined && eos_one_in !== undefined && hash % eos_one_in === 0) return eos_id
  const id = 3 + (hash % (vocab_size - 3)) // 0 to 2 are unknown, begin and end
  return id === eos_id ? id - 1 : id
}

function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x165667b1, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x27d4eb2f)
  return (h ^ (h >>> 13)) & 0x7fffffff
}
