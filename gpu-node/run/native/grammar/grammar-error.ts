// Why a constraint is refused, in words that name what of it cannot be held.

export class GrammarError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'GrammarError'
  }
}

/** It may be one that can be held, but would take more than was allowed. */
export class ExcessError extends GrammarError {}
