// What a step computes, flattened for the engine: sequence after sequence, each with the blocks it may read and write.

import { blocksFor } from './block-pool.ts'
import type { StepBatch } from './engine.ts'
import { rowArrays } from './sampling.ts'
import type { Sequence } from './sequence.ts'

/** A sequence's share of a step. */
export interface StepPart {
  sequence: Sequence
  tokens: number
  samples: boolean // it reaches its target, so its last row draws a token
}

export function buildBatch(parts: readonly StepPart[]): StepBatch {
  const block_counts = Int32Array.from(parts, ({ sequence, tokens }) => blocksFor(sequence.computed + tokens))
  const tokens = new Int32Array(parts.reduce((sum, part) => sum + part.tokens, 0))
  const block_tables = new Int32Array(block_counts.reduce((sum, count) => sum + count, 0))
  const rows: number[] = []
  let token_at = 0
  let block_at = 0
  for (const [i, { sequence, tokens: count, samples }] of parts.entries()) {
    for (let k = 0; k < count; k++) tokens[token_at++] = sequence.tokens[sequence.computed + k]!
    for (let k = 0; k < block_counts[i]!; k++) block_tables[block_at++] = sequence.blocks[k]!
    if (samples) rows.push(token_at - 1)
  }
  return {
    tokens,
    token_counts: Int32Array.from(parts, (part) => part.tokens),
    starts: Int32Array.from(parts, ({ sequence }) => sequence.computed),
    block_counts,
    block_tables,
    rows: Int32Array.from(rows),
    ...rowArrays(parts.filter((part) => part.samples).map((part) => part.sequence)),
    want_logits: false,
  }
}
