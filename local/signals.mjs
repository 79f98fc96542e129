// What a terminal, npm or a supervisor asks for by a signal: the first one asks for an end in order, a second one for an end at once.

const NAMES = ['SIGINT', 'SIGTERM', 'SIGHUP']

// Ctrl-C comes twice to what npm runs: from the terminal, which signals its whole group, and from npm, which passes it on.
const ECHO_MS_MAX = 300

/**
 * Calls `first` at the first signal and `second` at each later one. Returns what ends the listening.
 * @param {{ first: (signal: NodeJS.Signals) => void, second: (signal: NodeJS.Signals) => void }} handlers
 */
export function onSignals({ first, second }) {
  let first_at = null
  const hear = (signal) => {
    if (first_at === null) {
      first_at = performance.now()
      first(signal)
    } else if (performance.now() - first_at > ECHO_MS_MAX) second(signal)
  }
  for (const name of NAMES) process.on(name, hear)
  return () => {
    for (const name of NAMES) process.off(name, hear)
  }
}

/** The exit code that a shell gives to an end by this signal. */
export function exitCodeOf(signal) {
  return { SIGHUP: 129, SIGINT: 130, SIGKILL: 137, SIGTERM: 143 }[signal] ?? 1
}
