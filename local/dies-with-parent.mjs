// Ties a child process to this one, so that it gets `signal` when we end, however we end. On Linux the kernel sends it, which
// setpriv asks for; where there is no such setpriv (slim images, other systems) keeper.mjs stands in between and looks for us.

import { existsSync, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const keeper = fileURLToPath(new URL('keeper.mjs', import.meta.url))
let has_setpriv = null

/**
 * The command line that runs `command` tied to this process, as the given user where there is one.
 * @param {NodeJS.Signals} signal
 * @param {string[]} command
 * @param {number | null} user_id
 */
export function tiedCommand(signal, command, user_id = null) {
  has_setpriv ??= process.platform === 'linux' && hasSetpriv()
  if (!has_setpriv) {
    const user = user_id === null ? [] : [String(user_id)]
    return [process.execPath, keeper, signal, ...user, '--', ...command]
  }
  return ['setpriv', ...(user_id === null ? [] : asUser(user_id)), `--pdeathsig=${signal}`, '--', ...command]
}

/** Whether another user can be made to pass folders that are closed to others; only setpriv can do that. */
export function canPassClosedFolders() {
  has_setpriv ??= process.platform === 'linux' && hasSetpriv()
  return has_setpriv
}

// That user may pass the folders on the way to a checkout in root's home. access(2) forgets this right of a process that is not
// root's, unless no_setuid_fixup is set; and initdb asks access(2) about each program that it starts.
function asUser(id) {
  const user = [`--reuid=${id}`, `--regid=${id}`, '--clear-groups']
  return [...user, '--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--securebits=+no_setuid_fixup']
}

// The one of busybox knows no --pdeathsig.
function hasSetpriv() {
  const found = (process.env.PATH ?? '')
    .split(':')
    .map((folder) => join(folder, 'setpriv'))
    .find(existsSync)
  return found !== undefined && basename(realpathSync(found)) !== 'busybox'
}
