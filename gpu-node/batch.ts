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
  const sampled = parts.filter((part) => part.samples).map((part) => part.sequence)
  const batch: StepBatch = {
    tokens: new Int32Array(sum(parts, (part) => part.tokens)),
    token_counts: new Int32Array(parts.length),
    starts: new Int32Array(parts.length),
    block_counts: new Int32Array(parts.length),
    block_tables: new Int32Array(sum(parts, blocksOf)),
    rows: new Int32Array(sampled.length),
    ...rowArrays(sampled),
    want_logits: false,
  }
  const filled = { tokens: 0, blocks: 0, rows: 0 }
  for (const [i, part] of parts.entries()) fillPart(batch, i, part, filled)
  return batch
}

function fillPart(
  batch: StepBatch,
  i: number,
  part: StepPart,
  filled: { tokens: number; blocks: number; rows: number },
): void {
  const { computed, tokens, blocks } = part.sequence
  const block_count = blocksOf(part)
  batch.token_counts[i] = part.tokens
  batch.starts[i] = computed
  batch.block_counts[i] = block_count
  for (let k = 0; k < part.tokens; k++) batch.tokens[filled.tokens++] = tokens[computed + k]!
  for (let k = 0; k < block_count; k++) batch.block_tables[filled.blocks++] = blocks[k]!
  if (part.samples) batch.rows[filled.rows++] = filled.tokens - 1
}

function blocksOf({ sequence, tokens }: StepPart): number {
  return blocksFor(sequence.computed + tokens)
}

function sum(parts: readonly StepPart[], of: (part: StepPart) => number): number {
  let total = 0
  for (const part of parts) total += of(part)
  return total
}
