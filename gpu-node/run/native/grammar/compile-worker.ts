// Compiles constraints on a thread of its own, one after the other, for grammar-compiler.ts.

import { parentPort } from 'node:worker_threads'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { Budget } from './automaton.ts'
import { compileConstraint } from './compile.ts'
import { ExcessError, GrammarError } from './grammar-error.ts'

/** A program, or why there is none: for good, or because the share of the budget was too small. */
export type Compiled = { program: Int32Array<ArrayBuffer> } | { refused: string; is_excess: boolean }

export interface Compilation {
  json: string // of the constraint
  share: number // of the budget
}

parentPort!.on('message', (compilation: Compilation) => {
  const answer = compiled(compilation)
  parentPort!.postMessage(answer, 'program' in answer ? [answer.program.buffer] : [])
})

parentPort!.postMessage('ready')

function compiled({ json, share }: Compilation): Compiled {
  try {
    return { program: compileConstraint(JSON.parse(json) as Constraint, new Budget(share)) }
  } catch (error) {
    if (error instanceof GrammarError) return { refused: error.message, is_excess: error instanceof ExcessError }
    if (error instanceof RangeError) return { refused: 'It is nested too deeply.', is_excess: false } // the stack has an end
    throw error
  }
}
