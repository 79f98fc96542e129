// Ties a child process to this one: on Linux the kernel sends it `signal` when we end, however we end.

export function diesWithParent(signal: NodeJS.Signals, command: string[], flags: string[] = []): string[] {
  return process.platform === 'linux' ? ['setpriv', ...flags, `--pdeathsig=${signal}`, '--', ...command] : command
}
