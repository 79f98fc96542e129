// What a node is told of an answer that is to be verified, and what attempts that mend one are asked.

import {
  type PromptPart,
  REPAIR_FAILURE_BYTES_MAX,
  REPAIR_GAPS,
  type Verification,
} from '../../contract/internal/generation.ts'
import { ApiError } from '../error.ts'
import type { Verify } from '../field/verify.ts'
import { promptTokensMax } from './cost-ceiling.ts'

export interface VerifiedPrompt {
  around: Verification['around']
  repair: PromptPart[]
}

const CANDIDATES_DEFAULT = 4
const CPU_S_DEFAULT = 5
const ANSWER_BYTES_A_TOKEN = 4
const ANSWER_BYTES_MAX = 65_536

export function verification(
  { language, tests, context, candidates, attempts, seconds }: Verify,
  prompt: VerifiedPrompt,
  { max_tokens, context_tokens }: { max_tokens: number; context_tokens: number },
): Verification {
  const repair_answer_bytes_max = Math.min(ANSWER_BYTES_A_TOKEN * max_tokens, ANSWER_BYTES_MAX)
  const filled_tokens_max = promptTokensMax(prompt.repair) + repair_answer_bytes_max + REPAIR_FAILURE_BYTES_MAX
  return {
    language,
    tests,
    context: context ?? undefined,
    candidates: candidates ?? CANDIDATES_DEFAULT,
    attempts: attempts ?? 1,
    cpu_s: seconds ?? CPU_S_DEFAULT,
    ...prompt,
    repair_tokens_max: Math.min(filled_tokens_max, context_tokens),
    repair_answer_bytes_max,
  }
}

/** What is said to a model that wrote what fails. */
export const COMPLAINT = `A test fails: ${REPAIR_GAPS.failure}\nWrite all of the code again, corrected.`

/** The prompt of a text that is continued, after what fails, as comments of its language. */
export function repairedText({ language }: Verify, { before, after }: NonNullable<Verification['around']>): string {
  const sign = language === 'python' || language === 'shell' ? '#' : '//'
  const { answer, failure } = REPAIR_GAPS
  return `${before}${answer}${after}\n\n${sign} A test fails: ${failure}\n${sign} Corrected:\n\n${before}`
}

/** Refuses what does not go with tests, where a request has some of it. */
export function refuseBeside(fields: Record<string, unknown>): void {
  const param = Object.keys(fields).find((name) => fields[name])
  if (param) throw new ApiError('invalid_value', { param, message: `'${param}' does not go with 'verify'.` })
}
