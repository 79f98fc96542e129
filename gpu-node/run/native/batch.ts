// Flattens what a step computes for the engine: sequence after sequence, each with the blocks it may read and write.

import { blocksFor } from './block-pool.ts'
import { NO_ADAPTER, STEPS_UNDER_WAY_MAX, type StepBatch } from './engine.ts'
import { packRows, type Row } from './sampling.ts'
import type { Sequence } from './sequence.ts'

/** A sequence's share of a step. */
export interface StepPart {
  sequence: Sequence
  tokens: number // of its own, not yet scheduled
  samples: boolean // it reaches its target, so its last row draws a token
  scores: number // so many of its prompt's tokens, each behind one of its own
  /** Guesses at the tokens after its own, computed with them: each has a row, that draws the token after it. */
  draft: readonly number[]
}

/** Memory for the blocks of the steps that are under way, by turns: to have fresh pages for them costs more than to fill them. */
export class BlockTables {
  readonly #turns = Array.from({ length: STEPS_UNDER_WAY_MAX }, () => new Int32Array(0))
  #turn = 0

  /** Holds until this was called as often as steps may be under way. */
  take(length: number): Int32Array {
    this.#turn = (this.#turn + 1) % STEPS_UNDER_WAY_MAX
    if (this.#turns[this.#turn]!.length < length) this.#turns[this.#turn] = new Int32Array(2 * length)
    return this.#turns[this.#turn]!.subarray(0, length)
  }
}

export function buildBatch(parts: readonly StepPart[], tables: BlockTables): StepBatch {
  const batch: StepBatch = {
    tokens: new Int32Array(sum(parts, ({ tokens, draft }) => tokens + draft.length)),
    token_counts: new Int32Array(parts.length),
    starts: new Int32Array(parts.length),
    block_counts: new Int32Array(parts.length),
    block_tables: tables.take(sum(parts, blocksOf)),
    adapters: adaptersOf(parts),
    ...packRows(rowsOf(parts)),
    want_logits: false,
  }
  const filled = { tokens: 0, blocks: 0 }
  for (let i = 0; i < parts.length; i++) fillPart(batch, i, parts[i]!, filled)
  return batch
}

const NO_ADAPTERS = new Int32Array(0)

function adaptersOf(parts: readonly StepPart[]): Int32Array {
  if (parts.every(({ sequence }) => sequence.adapter === NO_ADAPTER)) return NO_ADAPTERS
  return Int32Array.from(parts, ({ sequence }) => sequence.adapter)
}

/** Rows that a part has in its step. */
export function rowCount({ scores, samples, draft }: StepPart): number {
  return scores + (samples ? 1 + draft.length : 0)
}

// The last of a part's own tokens draws, and each that is drafted behind it; what it scores comes before.
function rowsOf(parts: readonly StepPart[]): Row[] {
  const rows: Row[] = []
  let tokens_before = 0
  for (const part of parts) {
    const { sequence, tokens, samples, draft } = part
    scoredRows(part, tokens_before, rows)
    const last = tokens_before + tokens - 1
    for (let drafted = 0; samples && drafted <= draft.length; drafted++)
      rows.push({ sequence, draft, drafted, token: last + drafted })
    tokens_before += tokens + draft.length
  }
  return rows
}

// The last of the prompt's tokens has none of the prompt's behind it. Where its value is asked, what the row scores is of no account.
function scoredRows({ sequence, tokens, scores }: StepPart, tokens_before: number, rows: Row[]): void {
  const { scheduled, scoring_end } = sequence
  const end = Math.min(scheduled + tokens, scoring_end)
  for (let at = end - scores; at < end; at++)
    rows.push({ sequence, scored: sequence.tokens[at + 1] ?? 0, token: tokens_before + at - scheduled })
}

function fillPart(batch: StepBatch, i: number, part: StepPart, filled: { tokens: number; blocks: number }): void {
  const { sequence } = part
  const { scheduled, blocks } = sequence
  const block_count = blocksOf(part)
  batch.token_counts[i] = part.tokens + part.draft.length
  batch.starts[i] = scheduled
  batch.block_counts[i] = block_count
  for (let k = 0; k < part.tokens; k++) batch.tokens[filled.tokens++] = sequence.tokenAt(scheduled + k)
  for (const token of part.draft) batch.tokens[filled.tokens++] = token
  batch.block_tables.set(blocks.length === block_count ? blocks : blocks.slice(0, block_count), filled.blocks)
  filled.blocks += block_count
}

function blocksOf({ sequence, tokens, draft }: StepPart): number {
  return blocksFor(sequence.scheduled + tokens + draft.length)
}

function sum(parts: readonly StepPart[], of: (part: StepPart) => number): number {
  let total = 0
  for (const part of parts) total += of(part)
  return total
}
