// What CMake built belongs to the folder it was configured in: its cache and its lists of dependencies hold absolute paths, and
// CMake refuses to go on elsewhere. So a checkout that was moved, copied or renamed gets a build of its own.

import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** Removes a build whose cache names other sources. True where there was one. */
export function removeForeignBuild(build, source) {
  const cache = join(build, 'CMakeCache.txt')
  if (!existsSync(cache)) return false
  const configured = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1]
  if (configured && existsSync(configured) && realpathSync(configured) === realpathSync(source)) return false
  rmSync(build, { recursive: true })
  return true
}
