// How an answer is to be found among candidates: `verify` of completions and chat completions.

import * as z from 'zod'
import {
  VERIFIED_ATTEMPTS_MAX,
  VERIFIED_CANDIDATES_MAX,
  VERIFIED_CPU_S_MAX,
  VERIFIED_LANGUAGES,
  VERIFIED_TESTS_LENGTH_MAX,
} from '../../contract/internal/generation.ts'
import { text } from '../../contract/public/text.ts'

const upTo = (most: number) => z.int().min(1).max(most).nullish()
const tests = text.max(VERIFIED_TESTS_LENGTH_MAX)

export const verify = z
  .strictObject({
    language: z.enum(VERIFIED_LANGUAGES),
    tests: tests.min(1),
    context: tests.nullish(), // what the tests may use beside the program
    candidates: upTo(VERIFIED_CANDIDATES_MAX),
    attempts: upTo(VERIFIED_ATTEMPTS_MAX),
    seconds: upTo(VERIFIED_CPU_S_MAX), // of CPU time, for the program of a candidate
  })
  .nullish()

export type Verify = NonNullable<z.infer<typeof verify>>
