// The checks that are programs of their own, as tests, so that one report counts everything.

import { execFile } from 'node:child_process'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = dirname(import.meta.dirname)
const bin = `${root}/node_modules/.bin`

/** Runs a program to its end; its whole output is the failure's text. */
async function succeeds(program: string, args: string[]): Promise<string> {
  const ran = await promisify(execFile)(program, args, { cwd: root, maxBuffer: 64 << 20 }).catch((error) => error)
  expect(ran.code ?? 0, `${ran.stdout}${ran.stderr}`).toBe(0)
  return ran.stdout
}

// Several checkers each find again what the types of packages are: one takes little longer, and half the work.
test('the types hold', () => succeeds(`${bin}/tsc`, ['-p', '.', '--singleThreaded']))

test('the linter and the formatter have nothing to say', () =>
  succeeds(`${bin}/biome`, ['check', '--error-on-warnings', '.']))
