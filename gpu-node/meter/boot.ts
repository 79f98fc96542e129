// Which process this is, as its reports say: counted in its data folder, so that a later one follows an earlier one at once, and a
// report that was recorded under an earlier one counts for nothing.

import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import type { Boot } from '../../contract/internal/sync.ts'
import { replaceFile } from './replace-file.ts'

const kept = z.object({ folder_id: z.guid(), number: z.int().min(0) })

/** Counts this process. Whoever calls it holds the folder's lock. */
export function countBoot(data_dir: string): Boot {
  const file = join(data_dir, 'boot.json')
  const { folder_id, number } = readKept(file) ?? { folder_id: randomUUID(), number: 0 }
  const boot = { folder_id, number: number + 1 }
  replaceFile(file, `${JSON.stringify(boot)}\n`)
  return { id: randomUUID(), ...boot }
}

// A folder whose file cannot be read is a new one: its first report is heard once the one before has fallen silent.
function readKept(file: string): z.infer<typeof kept> | null {
  if (!existsSync(file)) return null
  try {
    return kept.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return null
  }
}
