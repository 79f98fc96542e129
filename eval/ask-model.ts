// One sample from a model behind any OpenAI-compatible address. What passes is tried again; what this model cannot answer, such as a
// prompt longer than its context, is an empty sample with its reason.

import OpenAI from 'openai'
import type { Problem } from './problem.ts'
import { completionOf, type Recipe, type Sampling } from './recipe.ts'
import type { Sample } from './samples.ts'

export interface Endpoint {
  base_url: string
  api_key: string
  model: string
}

const retries_max = 8
const answer_ms_max = 10 * 60_000

export function clientOf({ base_url, api_key }: Endpoint): OpenAI {
  // An address without a path means its /v1, as everybody serves it.
  const url = new URL(base_url)
  const baseURL = url.pathname === '/' ? `${url.origin}/v1` : base_url.replace(/\/$/, '')
  return new OpenAI({ baseURL, apiKey: api_key, maxRetries: retries_max, timeout: answer_ms_max })
}

interface Answer {
  text: string
  finish_reason: string | null
  usage: { prompt_tokens: number; completion_tokens: number } | undefined
}

export async function askModel(
  client: OpenAI,
  asked: { model: string; recipe: Recipe; sampling: Sampling; problem: Problem; index: number; signal: AbortSignal },
): Promise<Sample> {
  const began = performance.now()
  const { recipe, problem, index } = asked
  const own = { task_id: problem.id, index }
  try {
    const { text, finish_reason, usage } = await answerOf(client, asked)
    return {
      ...own,
      completion: completionOf(recipe, text, problem),
      finish_reason,
      ...(usage && { tokens_in: usage.prompt_tokens, tokens_out: usage.completion_tokens }),
      seconds: (performance.now() - began) / 1000,
    }
  } catch (error) {
    if (!isOfThisPrompt(error)) throw error
    return { ...own, completion: '', error: (error as Error).message.slice(0, 300) }
  }
}

async function answerOf(client: OpenAI, asked: Parameters<typeof askModel>[1]): Promise<Answer> {
  const { model, recipe, sampling, problem, index, signal } = asked
  const text = recipe.ask(problem)
  // The seed makes a sample repeatable, and each of the n another.
  const fields = { model, ...sampling, ...(sampling.temperature > 0 && { seed: index }) }
  if (recipe.endpoint === 'completions') {
    const { choices, usage } = await client.completions.create({ ...fields, prompt: text }, { signal })
    return { text: choices[0]?.text ?? '', finish_reason: choices[0]?.finish_reason ?? null, usage }
  }
  const messages = [{ role: 'user' as const, content: text }]
  const { choices, usage } = await client.chat.completions.create({ ...fields, messages }, { signal })
  return { text: choices[0]?.message.content ?? '', finish_reason: choices[0]?.finish_reason ?? null, usage }
}

/** A 400 or 413 that speaks of length: the next prompt may fit. Any other refusal is of the whole run. */
function isOfThisPrompt(error: unknown): boolean {
  if (!(error instanceof OpenAI.APIError) || !(error.status === 400 || error.status === 413)) return false
  return error.code === 'context_length_exceeded' || /context|too long|maximum.*(length|tokens)/i.test(error.message)
}
