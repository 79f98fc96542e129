// The CPU time that processes have used, as Linux counts it (in ticks of 10 ms: measure over seconds).

import { readdirSync, readFileSync } from 'node:fs'

const MS_PER_TICK = 10

/** User and system time of a process, in ms; where it is one that others work for, with theirs. */
export function cpuMs(pid: number, { children = false } = {}): number {
  const pids = children ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [pid]
  return statsOf(pids)
    .filter((stat) => stat.pid === pid || stat.parent === pid)
    .reduce((sum, { ticks }) => sum + ticks * MS_PER_TICK, 0)
}

function statsOf(pids: (string | number)[]) {
  return pids.flatMap((pid) => {
    try {
      const [, parent, ...fields] = readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ')
      return [{ pid: Number(pid), parent: Number(parent), ticks: Number(fields[9]) + Number(fields[10]) }]
    } catch {
      return [] // it has ended since
    }
  })
}
