// POST /v1/completions: raw prompts, continued as they stand. A string, several, token ids, or several lists of them.

import * as z from 'zod'
import { completion } from '../../../contract/public/openai.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields, tokenId, unusedFields } from '../../field/generation.ts'
import { text } from '../../field/text.ts'
import { askingNothing, unsupported } from '../../field/unused.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { rawPrompt } from '../../prompt/template.ts'

const PROMPTS_MAX = 64

const LOGPROBS_MAX = 5 // OpenAI's bound for completions

const tokens = z.array(tokenId).min(1)

const body = z
  .object({
    ...generationFields,
    prompt: z.union([text, z.array(text).min(1).max(PROMPTS_MAX), tokens, z.array(tokens).min(1).max(PROMPTS_MAX)], {
      error: `expected a string, token ids, or up to ${PROMPTS_MAX} of either, without NUL and lone surrogates`,
    }),
    best_of: unsupported(1),
    echo: z.boolean().nullish(),
    logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
    suffix: unsupported(''),
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>

const form: GenerationForm<Body> = {
  schema: body,
  format: (fields, own) =>
    generateRequest(fields, {
      ...own,
      shape: 'completion',
      prompts: promptsOf(fields.prompt).map(rawPrompt),
      logprobs: fields.logprobs ?? null,
      echo: echoOf(fields),
    }),
  unused: (given) => unusedFields(given as Body, body),
}

export const completions = endpoint(
  { says: 'Continues prompts as they stand.', body, answer: completion, also: { 'text/event-stream': completion } },
  (c, caller: Caller) => generate(c, caller, form),
)

// A caller who sends both expects the prompt's own log-probabilities, which are not computed.
function echoOf({ echo, logprobs }: Body): boolean {
  if (echo && logprobs != null)
    throw new ApiError('unsupported_parameter', {
      param: 'echo',
      message: "Unsupported parameter: 'echo' cannot be used with 'logprobs'.",
    })
  return echo ?? false
}

function promptsOf(prompt: Body['prompt']): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt]
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][])
}
