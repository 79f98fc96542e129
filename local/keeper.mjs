// Stands between a process and its child where the kernel cannot tie the two: passes on what it hears, ends as the child ends, and
// sends the child SIGNAL when the process that started it is gone. Arguments: SIGNAL [USER_ID] -- COMMAND…

import { spawn } from 'node:child_process'
import { fstatSync } from 'node:fs'

const LOOK_MS = 200
const split = process.argv.indexOf('--')
const [signal, user_id] = process.argv.slice(2, split)
const [command, ...args] = process.argv.slice(split + 1)

const parent = process.ppid
const user = user_id === undefined ? {} : { uid: Number(user_id), gid: Number(user_id) }
const child = spawn(command, args, { stdio: [0, 1, 2, ...(isOpen(3) ? [3] : [])], ...user })
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(name, () => child.kill(name))
setInterval(() => process.ppid !== parent && child.kill(signal), LOOK_MS).unref()
child.on('error', (error) => {
  console.error(`${command}: ${error.code}`)
  process.exit(127)
})
child.on('exit', (code, by) => process.exit(code ?? (by === 'SIGKILL' ? 137 : 1)))

function isOpen(fd) {
  try {
    return !!fstatSync(fd)
  } catch {
    return false
  }
}
