export function onSignals(handlers: {
  first: (signal: NodeJS.Signals) => void
  second: (signal: NodeJS.Signals) => void
}): () => void

export function exitCodeOf(signal: NodeJS.Signals): number
