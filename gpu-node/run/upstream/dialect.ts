// What an engine behind an address takes beyond OpenAI's own fields, and says. They all speak "OpenAI's API", and differ in this.

export interface Dialect {
  /** Samplers, bounds and ends that vLLM added: top_k, min_p, repetition_penalty, min_tokens, ignore_eos, stop_token_ids. */
  readonly has_samplers: boolean
  /** `continuous_usage_stats`: each chunk tells the usage so far. */
  readonly has_continuous_usage: boolean
  /** A stop string stays in the text where that is asked for, so that it is known which one ended it. */
  readonly keeps_stops: boolean
  readonly stops_max: number
  /** A prompt may be token ids. */
  readonly takes_ids: boolean
  /** `return_token_ids`. */
  readonly tells_ids: boolean
  /** A chat's last turn may be the assistant's, and be gone on with. */
  readonly continues_chats: boolean
  readonly truncates: boolean
  /** Beside JSON and its schemas: how a regular expression and a grammar are asked for; null where they cannot be. */
  readonly structured: 'structured_outputs' | 'top_level' | null
  readonly has_cache_salt: boolean
  /** At the origin, not below the address. */
  readonly metrics_path: string | null
}

// vLLM as it is, below Ray Serve, the production stack and llm-d; and our own gateway, which took its names.
const vllm: Dialect = {
  has_samplers: true,
  has_continuous_usage: true,
  keeps_stops: true,
  stops_max: Number.POSITIVE_INFINITY,
  takes_ids: true,
  tells_ids: true,
  continues_chats: true,
  truncates: true,
  structured: 'structured_outputs',
  has_cache_salt: true,
  metrics_path: '/metrics',
}

const sglang: Dialect = {
  ...vllm,
  keeps_stops: false,
  tells_ids: false,
  truncates: false,
  structured: 'top_level',
}

// What OpenAI's reference has and no more: OpenAI, TGI, llama.cpp's server, and whatever nobody knows more of.
const openai: Dialect = {
  has_samplers: false,
  has_continuous_usage: false,
  keeps_stops: false,
  stops_max: 4,
  takes_ids: false,
  tells_ids: false,
  continues_chats: false,
  truncates: false,
  structured: null,
  has_cache_salt: false,
  metrics_path: null,
}

export const dialects = { vllm, sglang, openai } satisfies Record<string, Dialect>
export type DialectName = keyof typeof dialects
export const dialectNames = Object.keys(dialects) as [DialectName, ...DialectName[]]
