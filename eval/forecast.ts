// What a run will cost and how long it will take, said before it begins: the most from the prompts and the token limit, and what is
// likely from its first answer.

import type { Endpoint } from './ask-model.ts'
import type { Problem } from './problem.ts'
import type { Recipe, Sampling } from './recipe.ts'
import type { Sample } from './samples.ts'

/** Dollars per million tokens. */
export interface Price {
  input: number
  output: number
}

/** Our own addresses say their prices with the model. */
export async function priceOf({ base_url, api_key, model }: Endpoint): Promise<Price | null> {
  const url = `${base_url.replace(/\/$/, '')}/models/${encodeURIComponent(model)}`
  const answer = await fetch(url, { headers: { authorization: `Bearer ${api_key}` } }).catch(() => null)
  const shown = answer?.ok ? ((await answer.json().catch(() => null)) as { pricing?: Pricing } | null) : null
  return shown?.pricing
    ? {
        input: Number(shown.pricing.input_nanousd_per_token) / 1000,
        output: Number(shown.pricing.output_nanousd_per_token) / 1000,
      }
    : null
}

interface Pricing {
  input_nanousd_per_token: string
  output_nanousd_per_token: string
}

/** No tokenizer is at hand: a token is at least one byte. */
export function ceiling(asked: {
  problems: Problem[]
  n: number
  recipe: Recipe
  sampling: Sampling
  price: Price | null
}): string {
  const { problems, n, recipe, sampling, price } = asked
  const input = n * problems.reduce((sum, problem) => sum + Buffer.byteLength(recipe.ask(problem)), 0)
  const output = n * problems.length * sampling.max_tokens
  const cost = price ? dollars(input, output, price) : 'of unknown price'
  return `${n * problems.length} questions, at most ${output} tokens out, ${price ? 'at most ' : ''}${cost}`
}

export function likely(first: Sample, questions: number, concurrency: number, price: Price | null): string {
  const minutes = ((first.seconds ?? 0) * questions) / Math.min(concurrency, questions) / 60
  const cost =
    price && first.tokens_out !== undefined
      ? `, ${dollars(questions * (first.tokens_in ?? 0), questions * first.tokens_out, price)}`
      : ''
  // The first answer is alone; those that share a machine take longer.
  return `by the first answer about ${minutes < 1 ? 'a minute' : `${Math.ceil(minutes)} minutes`} or more${cost}`
}

export const dollars = (input: number, output: number, price: Price) =>
  `$${((input * price.input + output * price.output) / 1e6).toFixed(4)}`
