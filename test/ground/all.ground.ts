// `npm run test:ground`: every row of the table.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'vitest'
import { long_rows, rows } from './rows.ts'
import { ROW_MS_MAX } from './run.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ziya-ground-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('the ground', () => {
  for (const { name, unless, run, ms_max = ROW_MS_MAX } of [...rows, ...long_rows])
    test.skipIf(!!unless)(unless ? `${name} (${unless})` : name, () => run(folder), ms_max)
})
