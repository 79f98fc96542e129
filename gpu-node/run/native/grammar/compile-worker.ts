// Compiles constraints on a thread of its own, one after the other, for grammar-compiler.ts.

import { parentPort } from 'node:worker_threads'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { compileConstraint } from './compile.ts'
import { GrammarError } from './grammar-error.ts'

/** A program, or why there is none. */
export type Compiled = { program: Int32Array<ArrayBuffer> } | { refused: string }

parentPort!.on('message', (constraint: Constraint) => {
  const answer = compiled(constraint)
  parentPort!.postMessage(answer, 'program' in answer ? [answer.program.buffer] : [])
})

function compiled(constraint: Constraint): Compiled {
  try {
    return { program: Int32Array.from(compileConstraint(constraint)) }
  } catch (error) {
    if (error instanceof GrammarError) return { refused: error.message }
    if (error instanceof RangeError) return { refused: 'It is nested too deeply.' } // the stack has an end
    throw error
  }
}
