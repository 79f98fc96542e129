// The public shapes, as OpenAI's clients read them. The gateway writes errors and lists; a node writes answers.

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
  prompt_tokens_details: { cached_tokens: number }
}

export function usageOf(counts: { prompt: number; cached: number; completion: number }): Usage {
  return {
    prompt_tokens: counts.prompt,
    completion_tokens: counts.completion,
    total_tokens: counts.prompt + counts.completion,
    prompt_tokens_details: { cached_tokens: counts.cached },
  }
}

type PublicFinishReason = 'stop' | 'length'

/** Of a completion: one entry a token in each list. A token's offset counts code points of the choice's text. */
export interface CompletionLogprobs {
  tokens: string[]
  token_logprobs: number[]
  top_logprobs: Record<string, number>[]
  text_offset: number[]
}

export interface ChatTopLogprob {
  token: string
  logprob: number
  bytes: number[] | null // null where the token has no text
}

export interface ChatLogprobs {
  content: (ChatTopLogprob & { top_logprobs: ChatTopLogprob[] })[]
  refusal: null
}

export interface CompletionBody {
  id: string
  object: 'text_completion'
  created: number // unix seconds
  model: string
  choices: {
    index: number
    text: string
    logprobs: CompletionLogprobs | null
    finish_reason: PublicFinishReason | null
  }[]
  usage?: Usage | null // null on the chunks of a stream that asked for usage; absent on one that did not
}

export interface ChatCompletion {
  id: string
  object: 'chat.completion'
  created: number
  model: string
  choices: {
    index: number
    message: { role: 'assistant'; content: string; refusal: null }
    logprobs: ChatLogprobs | null
    finish_reason: PublicFinishReason
  }[]
  usage: Usage
}

export interface ChatCompletionChunk {
  id: string
  object: 'chat.completion.chunk'
  created: number
  model: string
  choices: {
    index: number
    delta: { role?: 'assistant'; content?: string }
    logprobs: ChatLogprobs | null
    finish_reason: PublicFinishReason | null
  }[]
  usage?: Usage | null
}

export interface Model {
  id: string
  object: 'model'
  created: number
  owned_by: string
  context_length: number
  /** As it is for the account that asks; null before a first one was published. */
  pricing: {
    input_nanousd_per_token: string
    cached_input_nanousd_per_token: string
    output_nanousd_per_token: string
    version: number
  } | null
}

export type ErrorType =
  | 'invalid_request_error'
  | 'permission_error'
  | 'insufficient_quota'
  | 'requests'
  | 'tokens'
  | 'server_error'

export interface ErrorBody {
  error: { message: string; type: ErrorType; param: string | null; code: string | null }
}
