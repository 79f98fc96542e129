// What a gateway asks of a node beside generations: how a text falls into tokens, and back. It costs nothing and is written down nowhere,
// so it goes without a ticket; that a gateway of ours asks is signed all the same.

import { type PublicKey, type Signer, verifies } from '../ed25519.ts'
import type { Constraint, GenerateRequest, NodeError, PromptPart } from './generation.ts'

/** The body of `POST /question` on a node. Its signature travels in the header `x-question`. */
export type Question =
  // Answered by a Count. With a constraint it is also asked whether that can be held.
  | {
      prompts: PromptPart[][]
      with_ids: boolean
      constraint?: Constraint | undefined
      truncated?: Truncation | undefined
    }
  | { tokens: number[] } // answered by a Decoding

/** How a generation would truncate them. */
export type Truncation = Pick<GenerateRequest, 'truncate_prompt' | 'max_tokens'>

export interface Count {
  prompts: CountedPrompt[]
  sequence_tokens_max: number
  /** After so many seconds what waits at this node now is likely to be done. */
  queue_s: number
  /** How a request with this constraint would be refused; missing where it can be held. */
  refused?: NodeError['error'] | undefined
}

export interface CountedPrompt {
  count: number
  /** Where they were asked for: the ids, and each as the vocabulary spells it. */
  ids?: { tokens: number[]; pieces: string[] } | undefined
}

export interface Decoding {
  text: string
}

export const QUESTION_HEADER = 'x-question'

/** The body of `POST /resume` on a node, signed as a question is. It is answered with the stream of this attempt, from its first event on. */
export interface Resumption {
  request_id: string
  attempt: number
  /** Also from a client that still reads it, as far as the node knows. */
  takes_over: boolean
}

/** "kid.expires_unix_ms.signature": for one node and one body. */
export async function signQuestion(
  { kid, sign }: Signer,
  { node_id, expires_unix_ms, body }: { node_id: string; expires_unix_ms: number; body: string },
): Promise<string> {
  return `${kid}.${expires_unix_ms}.${await sign('question', signed(node_id, expires_unix_ms, body))}`
}

/** Whether one of these keys signed the question for this node, and it is not too old. */
export async function verifyQuestion(
  text: string,
  { node_id, body, now_ms }: { node_id: string; body: string; now_ms: number },
  keys: readonly PublicKey[],
): Promise<boolean> {
  const [kid, expires = '', signature = '', ...rest] = text.split('.')
  const key = keys.find((known) => known.kid === kid)
  if (!key || rest.length > 0 || !(Number(expires) >= now_ms)) return false
  return verifies(key, 'question', signed(node_id, Number(expires), body), signature)
}

function signed(node_id: string, expires_unix_ms: number, body: string): string {
  return `${expires_unix_ms} ${node_id}\n${body}`
}
