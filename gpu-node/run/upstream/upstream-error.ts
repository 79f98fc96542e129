// How an engine behind an address fails. What it said itself goes no further than here: its words may hold a prompt, or its key.

import type { RunFailure } from '../runner.ts'

export type Fault =
  | 'unreachable' // nobody is there
  | 'overloaded' // it says so
  | 'context' // the request does not fit its context
  | 'refused' // it does not take the request
  | 'misconfigured' // it does not take us, or has no such model
  | 'failed' // it says that it failed
  | 'broken' // what it sent is no answer
  | 'cut' // the answer, or the connection before it, ended in its middle
  | 'silent' // nothing came for too long

const TOLD: Partial<Record<Fault, RunFailure>> = {
  unreachable: 'overloaded',
  overloaded: 'overloaded',
  context: 'context_length_exceeded',
  refused: 'refused',
}

export class UpstreamError extends Error {
  readonly fault: Fault

  constructor(fault: Fault, detail: string) {
    super(detail)
    this.name = 'UpstreamError'
    this.fault = fault
  }

  /** What a client is told; null where it is that the model failed. */
  get failure(): RunFailure | null {
    return TOLD[this.fault] ?? null
  }

  /** Whether another engine may do better: what is wrong with the request is wrong everywhere. */
  get may_differ_elsewhere(): boolean {
    return this.fault !== 'context' && this.fault !== 'refused'
  }
}

const TOO_LONG = /context|maximum.{0,20}length|too long|too large|max_model_len|input.{0,20}tokens/i

/** Of the status of an answer, and what its body says. */
export function faultOf(status: number, said: string): Fault {
  if ([400, 413, 422].includes(status)) return TOO_LONG.test(said) ? 'context' : 'refused'
  if (status === 429 || status === 503) return 'overloaded'
  if (status >= 500) return 'failed'
  return 'misconfigured'
}
