// Real files that lie beside the repository, in ../shared/data (see its README). A test that needs them fails without.

import { existsSync } from 'node:fs'
import { join } from 'node:path'

export function sharedData(path: string): string {
  const full = join(import.meta.dirname, '../../../shared/data', path)
  if (!existsSync(full))
    throw new Error(`${full} is missing: the tests need the folder shared/data beside the repository`)
  return full
}
