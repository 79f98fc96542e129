// Why a constraint is refused, in words that name what of it cannot be held.

export class GrammarError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'GrammarError'
  }
}
