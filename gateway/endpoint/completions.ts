// POST /v1/completions: raw prompts, continued as they stand. A string, several, token ids, or several lists of them.

import { z } from 'zod'
import type { Call } from '../env.ts'
import { type GenerationEndpoint, generate } from '../generate.ts'
import { rawPrompt } from '../prompt/template.ts'
import { generateRequest, generationFields, text, unsupported } from './generation-fields.ts'

const PROMPTS_MAX = 64

const tokens = z
  .array(
    z
      .int()
      .min(0)
      .max(2 ** 31 - 1),
  )
  .min(1)

const body = z.strictObject({
  ...generationFields,
  prompt: z.union([text, z.array(text).min(1).max(PROMPTS_MAX), tokens, z.array(tokens).min(1).max(PROMPTS_MAX)], {
    error: `expected a string, token ids, or up to ${PROMPTS_MAX} of either, without NUL and lone surrogates`,
  }),
  best_of: unsupported(1),
  echo: unsupported(false),
  logit_bias: unsupported({}),
  logprobs: unsupported(),
  suffix: unsupported(''),
})

type Body = z.infer<typeof body>

const endpoint: GenerationEndpoint<Body> = {
  schema: body,
  format: (fields, own) =>
    generateRequest(fields, { ...own, shape: 'completion', prompts: promptsOf(fields.prompt).map(rawPrompt) }),
}

export function completions(c: Call): Promise<Response> {
  return generate(c, endpoint)
}

function promptsOf(prompt: Body['prompt']): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt]
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][])
}
