// Some rows of the table, drawn by the printed seed: SEED=… draws the same ones again. Drawn are those that end by themselves in seconds,
// with an answer or a refusal of one line. All rows: npm run test:ground.

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import { seededRandom } from '../support/random.ts'
import { rows } from './rows.ts'
import { ROW_MS_MAX } from './run.ts'

const DRAWN = 2
const random = seededRandom()
const folder = mkdtempSync(join(tmpdir(), 'ziya-ground-'))
chmodSync(folder, 0o711) // some rows act as another user
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const possible = rows.filter(({ name, unless }) => !unless && /: one line$|is answered in a fresh clone/.test(name))
const drawn = Array.from({ length: DRAWN }, () => possible.splice(random.below(possible.length), 1)[0]!)

for (const [index, { name, run }] of drawn.entries())
  test(
    name,
    () => {
      const own = join(folder, String(index))
      mkdirSync(own)
      return run(own)
    },
    ROW_MS_MAX,
  )
