// The seam between serving and generating. A runner takes in requests with their limits and says, step after step, what became
// of each choice: text, tokens, log-probabilities, its end. Whoever serves, counts and answers stands on one side and knows
// nothing of how it is done; our own engine (native/), or somebody else's behind an address, stands on the other.

import type {
  Constraint,
  FinishReason,
  GenerateRequest,
  PromptPart,
  VerifiedLanguage,
} from '../../contract/internal/generation.ts'
import type { Truncation } from '../../contract/internal/question.ts'
import type { UsageSource } from '../../contract/internal/sync.ts'
import type { VerificationReport } from '../../contract/public/openai.ts'

export interface Runner {
  /** Tokens that prompt and output of one sequence may have together. */
  readonly sequence_tokens_max: number
  /** What the runner has at this moment. */
  readonly load: RunnerLoad
  /** Counted since the start. */
  readonly statistics: RunnerStatistics
  /** False while nothing that it is given could be run: whoever hands out requests is told to look elsewhere. */
  readonly is_available?: boolean
  /** Languages in which it finds the first candidate that passes tests; missing where it finds none. */
  readonly verifies?: readonly VerifiedLanguage[]

  /** Resolves once it is sure to generate, and rejects where it cannot. The listener is told of everything from then on. */
  open(listener: RunnerListener): Promise<void>

  /** Whether so many choices more may wait or run. Asked before a prompt is read: what is refused should cost little. */
  hasRoomFor(choices: number): boolean

  /**
   * Makes ready what holds the texts of a request to a constraint, which may take a while. Rejects with a `Refusal` where it
   * cannot be held (`invalid_constraint`, `invalid_tools`). The accounts take turns; the name says whose it is, and nothing else.
   */
  hold(constraint: Constraint, account: string): Promise<HeldConstraint>

  /**
   * Puts chats into the format that the model's folder has, and gaps and judged answers into the one that the model was trained
   * for. Rejects with a `Refusal` (`invalid_messages`, `no_infill`, `wrong_model`) where it has none, or that does not take one. A
   * runner whose engine formats chats itself leaves them as they are.
   */
  format(prompts: PromptPart[][]): Promise<PromptPart[][]>

  /**
   * Makes a run of a request, which costs nothing before it starts. Throws a `Refusal` for what could never be run: for the
   * context (`context_length_exceeded`), the vocabulary (`unknown_special`, `invalid_token_id`) or without any token
   * (`bad_request`). The salt names whose cached prompts it may use; what `hold` gave, what every text of it must be.
   */
  prepare(request: RunRequest, cache_salt: string, held?: HeldConstraint | null): Run

  /**
   * The tokens of each prompt, as `prepare` would truncate it; the refusals are those of `prepare`, and `context_length_exceeded` only
   * where it needs no counting.
   */
  encode(prompts: PromptPart[][], truncated?: Truncation): number[][]
  /** The text of tokens, and each as the vocabulary spells it. Refuses `invalid_token_id`. */
  decode(tokens: readonly number[]): { text: string; pieces: string[] }

  /** Gives its memory back. No run goes on then. */
  close(): Promise<void>
}

/** A constraint that a runner has made ready; only that runner knows what it is. */
export type HeldConstraint = object

/** What a runner is told of a request: everything but how its answer is written, and what was made ready before. A prompt is a chat only where `format` left it one. */
export type RunRequest = Omit<
  GenerateRequest,
  | 'response_id'
  | 'created_unix_s'
  | 'shape'
  | 'ranked'
  | 'stream'
  | 'include_usage'
  | 'continuous_usage'
  | 'constraint'
  | 'whole_at_end'
> & {
  /** Of a prompt's choices after its first, where they are drawn at another than the request's. */
  later_temperature?: number
}

/** A request that a runner has taken in: its choices, each at the index prompt * n + copy. */
export interface Run {
  readonly choices: readonly RunChoice[]
  /** Counts each prompt once. It is exact where the runner has the model's tokenizer, else the most that it may come to. */
  readonly prompt_tokens: number
  /** What is billed of its prompts so far: nothing of one whose turn has not come. */
  readonly usage: { prompt_tokens: number; cached_tokens: number }

  /** Names what can change the bytes of its answer, where that is known. */
  readonly fingerprint?: string | null

  /** The ids of each of its prompts, where the request asked for them. */
  readonly prompt_token_ids?: readonly (readonly number[])[]

  /** What came true so far of what its caller predicts; null where they predict nothing. */
  readonly prediction?: { accepted_tokens: number; rejected_tokens: number } | null

  /** What became of its candidates so far, where its answer was to be verified. */
  readonly verification?: VerificationReport | null

  /** Who counted its tokens so far; missing where that is our own engine. */
  readonly usage_source?: UsageSource | undefined
  /** Why it failed, where it did and its runner knows. */
  readonly failure?: RunFailure | null

  start(): void
  /** Ends it within one step. Returns the last event of each choice that had not ended, with the text that it still held. */
  stop(): RunEvent[]
  /** A paused run keeps its place and gets no tokens. */
  setPaused(paused: boolean): void
}

/** What a client can be told of a failure beside that there was one. */
export type RunFailure =
  | 'overloaded' // nothing had room for it, or could be reached
  | 'context_length_exceeded'
  | 'refused' // what generates does not take such a request

export interface RunChoice {
  readonly prompt_tokens: number
  /** The events of a choice never have more tokens than this together. */
  readonly output_tokens_max: number
  /** When the first step for it began, on the monotonic clock; null while it waits. */
  readonly begun_at_ms: number | null
}

export interface RunnerListener {
  /** Called with one step after the other: the runner hands out the next when this has resolved, and computes meanwhile. */
  onStep(step: RunStep): Promise<void>
  /** The runner is lost: no run goes on and none can begin. */
  onFailed(error: unknown): void
}

/** What one step made for all runs together, so that it is one write of the journal and one of each socket. */
export interface RunStep {
  /** When it ended, on the monotonic clock. */
  readonly at_ms: number
  /** Tokens of prompts and outputs that it computed; null where the runner cannot know. */
  readonly computed_tokens: number | null
  /**
   * To be read once. A runner may make each event only when it is asked for: turning tokens into text is work that the listener
   * spreads over several turns of the event loop. A run that was stopped meanwhile has no more events.
   */
  readonly events: Iterable<RunEvent>
  /** Runs that failed alone, while the runner goes on. They have no more events. Whole when all events were read. */
  readonly failed?: readonly Run[]
}

/** What one choice became by one or more of its tokens. */
export interface RunEvent {
  readonly run: Run
  readonly choice: number
  /** To be delivered as it is: no half of a code point, nothing of a stop string, the prompt before it where that is echoed. */
  readonly text: string
  /** Counted by it. Below 0 where the last word on a choice is less than what was counted before. */
  readonly tokens: number
  /** The log-probabilities of the tokens whose text is out by now; none where the request asked for none. */
  readonly logprobs: readonly TokenLogprob[]
  /** The ids of the tokens counted by it, where the request asked for them. */
  readonly token_ids?: readonly number[]
  /** Set in the last event of a choice. */
  readonly finish: FinishReason | null
  /** The stop string that ended it, where one did. */
  readonly stop?: string | null
}

/** One token of an answer, with the likeliest others in its place. */
export interface TokenLogprob extends Omit<Candidate, 'logprob'> {
  readonly logprob: number | null // null for the first of a prompt, which nothing comes before
  readonly top: readonly Candidate[]
  readonly offset: number // code points of the choice's text before it
}

export interface Candidate {
  readonly text: string
  readonly bytes: number[] | null // null where it has no text
  readonly logprob: number
}

export interface RunnerLoad {
  readonly running: number // choices that get tokens
  readonly waiting: number // choices that wait for their turn
  readonly blocks_total: number // of the memory for contexts; 0 where the runner has none of its own
  readonly blocks_free: number
  readonly queue_s: number // after so many seconds what waits now is likely to be done
  readonly step_in_flight_ms: number | null // how long it has taken so far; null when none is
  readonly last_step_age_ms: number
}

export interface RunnerStatistics {
  readonly preemptions: number // choices that gave their blocks back before their end
  readonly cache_queries: number // prompt tokens looked for in the prefix cache
  readonly cache_hits: number // prompt tokens found in it
  readonly drafts: number
  readonly drafts_proposed: number // tokens
  readonly drafts_accepted: number
}
