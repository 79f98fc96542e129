// A gate that a test opens when all is as it must be: who waits at it is neither too early nor too late.

export interface Gate {
  open: () => void
  pass: () => Promise<void>
}

export function newGate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { open: resolve, pass: () => promise }
}
