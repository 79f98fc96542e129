// Deadlines that a test lets come: no machine is then too slow for what is to be before one, nor too fast for what is to be after.

import { onTestFinished, vi } from 'vitest'

/** A deadline this far away comes when the test says so. */
export const HELD_MS = 86_400_000

/** Holds the timers of such a time that are set from now on. What is returned lets them fire, all that have been set by then. */
export function holdTimers(held_ms_min = HELD_MS / 2): () => void {
  const held = new Map<NodeJS.Timeout, () => void>()
  const setReal = globalThis.setTimeout
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, ms?: number) => {
    const timer = setReal(callback, ms)
    if ((ms ?? 0) >= held_ms_min) held.set(timer, callback)
    return timer
  }) as typeof setTimeout)
  onTestFinished(() => spy.mockRestore())
  return () => {
    for (const [timer, callback] of held) {
      held.delete(timer)
      if (isSet(timer)) fire(timer, callback)
    }
  }
}

// Node says of a timer that was cleared that it does not hold the process, and that it is destroyed.
function isSet(timer: NodeJS.Timeout): boolean {
  return !(timer as unknown as { _destroyed: boolean })._destroyed
}

function fire(timer: NodeJS.Timeout, callback: () => void): void {
  clearTimeout(timer)
  callback()
}
