// The 164 problems, for tests.

import { join } from 'node:path'
import { readSuite } from '../../eval/suite/suite.ts'

export const humanEval = readSuite('humaneval', undefined)

export const codefuse_samples = join(import.meta.dirname, '../data/codefuse/codefuse-codellama-34b.samples.jsonl.gz')

/** The problems whose sample fails when prompt, sample and test simply run as one program; 162 lacks an import alone. */
export const codefuse_failures = [
  1, 32, 33, 39, 41, 62, 63, 64, 75, 77, 87, 89, 90, 91, 93, 94, 95, 100, 108, 109, 115, 116, 120, 125, 126, 127, 129,
  130, 132, 133, 134, 137, 138, 139, 140, 141, 145, 154, 155, 159, 160, 162, 163,
]
