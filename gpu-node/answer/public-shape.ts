// What the public shapes have in common: how each spells the events of an answer.

import type { FinishReason } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { TokenLogprob } from '../run/runner.ts'

/** What one choice says at once: text, and the tokens it is made of where log-probabilities were asked for. */
export interface Piece {
  text: string
  logprobs: readonly TokenLogprob[] | null
  /** A call's beginning, with its name, or a part of its arguments; there is no text then. */
  call?: { index: number; arguments: string; name?: string }
}

/** How a choice ended, and whether that was with calls of tools, each of them whole. */
export interface Finish {
  reason: FinishReason
  has_called: boolean
}

export interface WholeChoice extends Piece {
  calls: { name: string; arguments: string }[]
  finish: Finish
}

export interface PublicShape {
  opening(choice: number): object | null // the chunk before a choice's first text
  delta(choice: number, piece: Piece): object
  finish(choice: number, finish: Finish): object
  usage(usage: Usage): object
  whole(choices: WholeChoice[], usage: Usage): object
}
