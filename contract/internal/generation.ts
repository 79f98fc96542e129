// What the gateway asks of a node: one generation, already formatted, checked and paid for.
// The node knows tokens; it never learns keys or prices, and no prompt format but that of its own folder.

import type { ResponseAsked, ResponseBody } from '../public/responses.ts'

/** A piece of a prompt: formatted, or a chat, a gap or an answer to be judged, which the node is to format. */
export type PromptPart = PlainPart | ChatPart | InfillPart | JudgedPart

/** A piece of a formatted prompt. User text is only ever `text`, so it can never become a special token. */
export type PlainPart =
  | { special: string } // the exact piece in the vocabulary, e.g. "<s>"
  | { text: string } // tokenized with SentencePiece's rules, never parsed for special tokens
  | { tokens: number[] } // ids given by the caller (raw completions only)

/** A whole prompt of a model whose format only its folder has. What is said is text here, too. */
export interface ChatPart {
  chat: { role: 'system' | 'user' | 'assistant'; text: string }[]
  is_continued: boolean // the last turn is the assistant's and is left open
}

/** A whole prompt of a model that was trained to write what stands between two texts. Both are text here, too. */
export interface InfillPart {
  infill: { before: string; after: string }
}

/** A whole prompt of a model that judges what answers a text. Both are text here, too. */
export interface JudgedPart {
  judged: { query: string; answer: string }
}

/** Languages whose programs a node may be able to test. */
export const VERIFIED_LANGUAGES = ['python', 'javascript', 'typescript', 'cpp', 'java', 'go', 'rust', 'shell'] as const
export type VerifiedLanguage = (typeof VERIFIED_LANGUAGES)[number]

/** How an answer is found among candidates: each is tested where it was generated, and the first that passes is the answer. */
export interface Verification {
  language: VerifiedLanguage
  tests: string
  /** What the tests may use beside the program; in compiled languages the declaration that the program completes, which is what stands before the text unless said. */
  context?: string | undefined
  candidates: number // an attempt, over one prompt
  attempts: number // each after the first is shown what failed in the one before
  cpu_s: number // for the program of a candidate
  /** What makes a text a program; null where the program is the first fence of it. */
  around: { before: string; after: string } | null
  /** The prompt of each attempt after the first; REPAIR_GAPS say where the node puts what failed, and why. */
  repair: PromptPart[]
  repair_tokens_max: number // of that prompt, as it was paid for
  repair_answer_bytes_max: number // of what failed, so much is shown
}

/** No text of a caller has a NUL. */
export const REPAIR_GAPS = { answer: '\0answer\0', failure: '\0failure\0' } as const
export const REPAIR_FAILURE_BYTES_MAX = 1024

export const VERIFIED_CANDIDATES_MAX = 8
export const VERIFIED_ATTEMPTS_MAX = 4
export const VERIFIED_TESTS_LENGTH_MAX = 65_536
export const VERIFIED_CPU_S_MAX = 10

/** The public shape the node writes: an OpenAI completion, chat completion or response, a message of Anthropic's, or vLLM's scores. */
export type Shape = 'completion' | 'chat' | 'message' | 'response' | 'score' | 'rerank'

/** Interactive requests go before those of a batch, which wait a bounded while. */
export type Priority = 'interactive' | 'batch'

/** Sampling parameters. Defaults are filled in by the gateway from the catalog, so none is optional here. */
export interface SamplingParameters {
  temperature: number // 0 = greedy
  top_p: number // (0, 1]
  top_k: number // 0 = off
  min_p: number // 0 = off
  repetition_penalty: number // 1 = off; over prompt and output
  frequency_penalty: number // 0 = off; over output
  presence_penalty: number // 0 = off; over output
  /** Unsigned 64-bit, decimal. The gateway draws one where the caller gave none, so every answer can be repeated. */
  seed: string
}

/** Every token is drawn as the model has it. */
export const neutralSampling = {
  temperature: 1,
  top_p: 1,
  top_k: 0,
  min_p: 0,
  repetition_penalty: 1,
  frequency_penalty: 0,
  presence_penalty: 0,
} satisfies Omit<SamplingParameters, 'seed'>

/** What the text of every choice must be, whatever is drawn. Whether it can be held its node knows. */
export type Constraint = TextConstraint | ToolsConstraint

export type TextConstraint =
  | { kind: 'json' } // a JSON object
  | { kind: 'json_schema'; schema: unknown } // a JSON value that follows the schema
  | { kind: 'regex'; regex: string } // ECMAScript's; the whole text matches
  | { kind: 'grammar'; grammar: string } // GBNF, beginning with its rule `root`

/** Calls of tools, as tool-call.ts writes them. Where they are not required, it may also be any text, or one of the constraint. */
export interface ToolsConstraint {
  kind: 'tools'
  tools: Tool[]
  calls: 'allowed' | 'required'
  is_parallel: boolean // more than one call
  text?: TextConstraint
}

export interface Tool {
  name: string
  parameters: unknown // the JSON schema of its arguments, which are an object; null where it takes none
}

/** The body of `POST /generate` on a node. The ticket travels in the header `x-ticket`. */
export interface GenerateRequest {
  request_id: string // UUID; the client sees it as x-request-id
  /** The ledger that it was admitted by; the node hands it back with what was used. */
  ledger_id?: string | undefined
  response_id: string // "cmpl-…", "chatcmpl-…", "msg_…" or "resp_…"
  created_unix_s: number
  model: string // the public id, echoed in the answer
  shape: Shape
  stream: boolean
  include_usage: boolean // stream_options.include_usage
  /** Every chunk tells the usage so far, and not the last one alone; with include_usage only. */
  continuous_usage?: boolean | undefined
  /** One list of parts a prompt; a raw completion may carry several. Choice index = prompt * n + copy. */
  prompts: PromptPart[][]
  /** Of each prompt only so many tokens are kept, its last ones; or as many as the context has room for beside max_tokens. */
  truncate_prompt?: number | 'to_fit' | undefined
  n: number // choices a prompt
  max_tokens: number // a choice; 0 = its prompt alone is computed
  /** True where the caller gave no max_tokens: the node then lowers it to the room the context leaves. */
  max_tokens_is_default: boolean
  stop: string[]
  /** Ids that end a choice as the model's own end does; below the vocabulary. */
  stop_token_ids: number[]
  include_stop: boolean // what ended the choice, string or id, stays in its text
  min_tokens: number // before so many, nothing ends a choice but its max_tokens; 0 = off
  ignore_eos: boolean // the model's own end does not end a choice
  logit_bias: [token_id: number, bias: number][]
  /** Alternatives a token whose log-probabilities are written, 0 to LOGPROBS_MAX; null = none, nor the token's own. */
  logprobs: number | null
  echo: boolean // the text begins with the prompt's, and so do the log-probabilities; completions only
  /** The answer has the ids of its prompts' tokens and of its own. */
  return_token_ids?: boolean | undefined
  /** Of a rerank: so many are told, the best first, with their texts where those are wanted. */
  ranked?: { top_n: number; texts: string[] } | undefined
  sampling: SamplingParameters
  priority: Priority
  service_tier?: 'default' | 'flex' | undefined // told in the answer, where the request said one
  /** What the caller expects the answer to be: it makes one faster, never another. */
  prediction?: string | undefined
  constraint?: Constraint
  /** The answer is the first candidate that passes these tests; of one prompt, and n is 1. */
  verify?: Verification | undefined
  /** A stream ends with a comment that says all of it as one who waits is told (WHOLE_ANSWER). */
  whole_at_end?: true | undefined
  /** What an answer of the shape `response` says again of its request. */
  asked?: ResponseAsked
}

/** Choices that share what is paid for of its output, each with max_tokens. */
export function choicesOf({ n, prompts, verify }: GenerateRequest): number {
  return verify ? verify.candidates * verify.attempts : n * prompts.length
}

/** What that comment begins with; the JSON follows on its line. */
export const WHOLE_ANSWER = ': whole '

export const LOGPROBS_MAX = 20
export const CONSTRAINT_LENGTH_MAX = 262_144 // UTF-16 units of it in writing
export const TOOLS_MAX = 128
export const STOPS_MAX = 32
export const STOP_TOKEN_IDS_MAX = 64 // fewer than any vocabulary: something is always left to draw
export const LOGIT_BIAS_MAX = 1024

export type FinishReason = 'stop' | 'length'

/** How a generation ended for the meter; the public bytes only ever show what `stop` and `length` are. */
export type Outcome = FinishReason | 'client_gone' | 'node_lost' | 'deadline' | 'revoked' | 'error'

/** Refusals a node may answer before the first byte. The gateway voids the reservation and maps the code to a status. */
export type NodeErrorCode =
  | 'bad_ticket' // missing, forged, expired, already used
  | 'bad_request' // the body does not follow this contract
  | 'context_length_exceeded'
  | 'ceiling_exceeded' // exact counts are above what the ticket paid for
  | 'unknown_special'
  | 'no_infill' // the model was not trained for what a suffix asks
  | 'wrong_model' // it judges and is asked to write, or the other way round
  | 'invalid_messages' // the template of the model's folder does not take them
  | 'invalid_token_id'
  | 'invalid_constraint' // it is none, nothing follows it, or a part of it cannot be held
  | 'invalid_tools' // as much of the parameters of a tool
  | 'unsupported' // what generates for this node has no such thing
  | 'overloaded'
  | 'no_room' // the disk that its journal is on, or the journal, is full
  | 'draining'
  | 'engine_failed'
  | 'no_stream' // of what is to be resumed: it does not run here, nobody may resume it, or somebody reads it

export interface NodeError {
  error: { code: NodeErrorCode; message: string; param: string | null }
}

export const TICKET_HEADER = 'x-ticket'
/** Sent by a node with every answer of `POST /generate`: "1" once the generation was accepted and will be journaled. */
export const ACCEPTED_HEADER = 'x-accepted'

/** A response to a request, as it is before anything is known of its answer. */
export function responseBody(
  { response_id, created_unix_s, model, asked }: GenerateRequest,
  told: Partial<ResponseBody> & Pick<ResponseBody, 'status'>,
): ResponseBody {
  return {
    id: response_id,
    object: 'response',
    created_at: created_unix_s,
    completed_at: null,
    error: null,
    incomplete_details: null,
    model,
    output: [],
    usage: null,
    access_programs: null,
    ...asked!,
    ...told,
  }
}
