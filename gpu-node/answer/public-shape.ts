// What the public shapes have in common: how each spells the events of an answer.

import { hash } from 'node:crypto'
import type { FinishReason } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { Run, RunFailure, TokenLogprob } from '../run/runner.ts'

/** What one choice says at once: text, and the tokens it is made of where log-probabilities were asked for. */
export interface Piece {
  text: string
  logprobs: readonly TokenLogprob[] | null
  /** The ids of the tokens that were counted with it, where they were asked for. */
  token_ids?: readonly number[]
  /** A call's beginning, with its name, or a part of its arguments; there is no text then. */
  call?: { index: number; arguments: string; name?: string }
}

/** How a choice ended, and the stop string that it ended with. */
export interface Ending {
  reason: FinishReason
  stop: string | null
}

/** How it ended, and whether that was with calls of tools, each of them whole. */
export interface Finish extends Ending {
  has_called: boolean
}

export interface WholeChoice extends Piece {
  calls: { name: string; arguments: string }[]
  finish: Finish
}

/** What an answer says of the run that it is of. */
export type ToldOfRun = Pick<Run, 'prompt_token_ids' | 'fingerprint' | 'verification'>

/** Why an answer ends with an error. */
export type Failure = 'error' | 'revoked' | RunFailure

export interface PublicShape {
  /** What of a stream comes before a choice's first text. */
  opening(choice: number): object[]
  delta(choice: number, piece: Piece): object[]
  finish(choice: number, finish: Finish): object[]
  /** What of a stream follows its last choice. */
  end(usage: Usage): object[]
  whole(choices: WholeChoice[], usage: Usage): object
  /** What an answer is that failed before anything of it was sent. */
  error(why: Failure): object
  /** What a stream that failed ends with. */
  failed(why: Failure): object[]
  /** One of these as it stands in a stream. */
  frame(data: object): string
  /** What a stream that came to its end ends with. */
  readonly last_frame: string
}

const CALL_ID_LENGTH = 24

/** Derived from the request, so that an answer that is asked for again has the same. */
export function callId(request_id: string, { choice, call }: { choice: number; call: number }): string {
  return hash('sha256', `${request_id} ${choice} ${call}`, 'hex').slice(0, CALL_ID_LENGTH)
}
