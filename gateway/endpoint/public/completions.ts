// POST /v1/completions: raw prompts, continued as they stand. A string, several, token ids, or several lists of them.

import * as z from 'zod'
import type { PromptPart } from '../../../contract/internal/generation.ts'
import { completion } from '../../../contract/public/openai.ts'
import { isText, text } from '../../../contract/public/text.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields, isTokenId, unusedFields } from '../../field/generation.ts'
import { askingNothing, unsupported } from '../../field/unused.ts'
import { verify } from '../../field/verify.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { refuseBeside, repairedText, type VerifiedPrompt } from '../../generate/verification.ts'
import { rawPrompt } from '../../prompt/template.ts'

const PROMPTS_MAX = 64

const LOGPROBS_MAX = 5 // OpenAI's bound for completions

// Of long lists every member would be looked at once for each form that a prompt may have, and complained about each time. So a list is
// refused at the first member that does not fit; it is of the form whose kind of members it has.
function listOf<T>(kind: 'string' | 'number' | 'object', isOne: (value: unknown) => value is T, json: object) {
  const list = z.array(z.unknown()).min(1)
  const some = (kind === 'number' ? list : list.max(PROMPTS_MAX)).meta({ items: json })
  return some.superRefine((values, { addIssue }) => {
    const wrong = values.findIndex((value) => !isOne(value))
    if (wrong < 0) return
    const is_of_this_form = [values[0], values[wrong]].every((value) => typeof value === kind)
    addIssue({ code: 'custom', path: [wrong], message: 'out of its range', continue: is_of_this_form })
  }) as z.ZodType<unknown[]> as z.ZodType<T[]>
}

const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every(isTokenId)
const token_json = { type: 'integer', minimum: 0, maximum: 2_147_483_647 }
const tokens_json = { minItems: 1, type: 'array', items: token_json }

const prompt = z.union(
  [
    text,
    listOf('string', isText, { type: 'string' }),
    listOf('number', isTokenId, token_json),
    listOf('object', isTokens, tokens_json),
  ],
  { error: `expected a string, token ids, or up to ${PROMPTS_MAX} of either, without NUL and lone surrogates` },
)

const body = z
  .object({
    ...generationFields,
    prompt,
    // 0, with echo: the prompt alone is computed, and scored where logprobs are wanted.
    max_tokens: z
      .int()
      .refine((value) => value >= -1, { error: 'expected at least 0, or -1 for no limit' })
      .nullish(),
    best_of: unsupported(1),
    echo: z.boolean().nullish(),
    logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
    // What is written stands between the prompt, which is a text, and this.
    suffix: text.nullish(),
    verify,
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>

export const completionForm: GenerationForm<Body> = {
  schema: body,
  format: (fields, own) =>
    generateRequest(fields, {
      ...own,
      shape: 'completion',
      prompts: partsOf(fields),
      verified: verifiedPrompt(fields),
      logprobs: fields.logprobs ?? null,
      echo: echoOf(fields),
    }),
  unused: (given) => unusedFields(given as Body, body),
}

export const completions = endpoint(
  {
    says: 'Continues prompts as they stand.',
    example: { model: 'ziya-coding-mini', max_tokens: 64, stream: true, prompt: 'def sort(' },
    body,
    answer: completion,
    also: { 'text/event-stream': completion },
  },
  (c, caller: Caller) => generate(c, caller, completionForm),
)

function echoOf({ echo, max_tokens }: Body): boolean {
  if (max_tokens === 0 && !echo)
    throw new ApiError('invalid_value', { param: 'max_tokens', message: "'max_tokens': 0 needs 'echo': true." })
  return echo ?? false
}

/** With a suffix, how the three are told apart is the node's to say, which has the model's vocabulary. */
function partsOf({ prompt, suffix, echo, truncate_prompt_tokens }: Body): PromptPart[][] {
  const prompts = promptsOf(prompt)
  if (!suffix) return prompts.map(rawPrompt)
  return prompts.map((before) => {
    if (typeof before === 'string' && !echo && truncate_prompt_tokens == null)
      return [{ infill: { before, after: suffix } }]
    const message = "'suffix' goes with texts, without 'echo' and 'truncate_prompt_tokens'."
    throw new ApiError('invalid_value', { param: 'suffix', message })
  })
}

function verifiedPrompt({ prompt, suffix, verify, echo, n }: Body): VerifiedPrompt | undefined {
  if (!verify) return undefined
  refuseBeside({ prompt: typeof prompt !== 'string', n: n && n > 1, echo })
  const around = { before: String(prompt), after: suffix ?? '' }
  return { around, repair: rawPrompt(repairedText(verify, around)) }
}

function promptsOf(prompt: Body['prompt']): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt]
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][])
}
