// One answer that is found among candidates. An attempt is a run of the runner below, its choices are the candidates; each is judged when
// it ends. The first that passes is the answer and stops the rest; where none does, the next attempt is shown what failed. To whoever
// serves and counts it is one run with one choice: tokens as they come, and the text when it is chosen.

import type { FinishReason, PromptPart, Verification, VerifiedLanguage } from '../../../contract/internal/generation.ts'
import type { UsageSource } from '../../../contract/internal/sync.ts'
import type { VerificationReport } from '../../../contract/public/openai.ts'
import type { Run, RunChoice, RunEvent, RunFailure, TokenLogprob } from '../runner.ts'
import type { JudgedTask, Verdict } from './judge-messages.ts'
import { programOf, repairPrompt } from './program.ts'

export interface VerifiedRunOptions {
  verify: Verification
  first: Run
  /** The run of another attempt; null where there is no room for it. */
  prepare: (prompt: PromptPart[]) => Promise<Run | null>
  judge: (task: JudgedTask, signal: AbortSignal) => Promise<Verdict>
  told: VerifiedRunListener
}

export interface VerifiedRunListener {
  began(run: VerifiedRun, attempt: Run): void
  /** Nothing more is wanted of the attempt. */
  left(attempt: Run): void
  /** The answer can be taken. */
  ended(run: VerifiedRun): void
  /** The next attempt could not be made; nothing runs any more. */
  lost(run: VerifiedRun, error: unknown): void
}

interface Candidate {
  attempt: number
  index: number
  text: string
  tokens: number
  logprobs: TokenLogprob[]
  token_ids: number[]
  finish: FinishReason | null
  stop: string | null
  verdict: Verdict | null
}

/** What becomes of its texts, where the run has no more of them. */
type Stage = 'running' | 'chosen' | 'over'

export class VerifiedRun implements Run {
  readonly choices: readonly RunChoice[]
  readonly prompt_token_ids?: readonly (readonly number[])[]
  readonly #options: VerifiedRunOptions
  readonly #attempts: Run[] = []
  readonly #candidates: Candidate[] = []
  readonly #stopping = new AbortController()
  readonly #verdicts = new Map<string, Promise<Verdict>>() // by program: candidates are often the same
  #stage: Stage = 'running'
  #chosen: Candidate | null = null
  #late_tokens = 0 // counted by the last words of candidates that were stopped
  #is_paused = false

  constructor(options: VerifiedRunOptions) {
    const { verify, first } = options
    const [candidate] = first.choices
    this.#options = options
    this.#add(first)
    if (first.prompt_token_ids) this.prompt_token_ids = first.prompt_token_ids
    this.choices = [
      {
        prompt_tokens: candidate!.prompt_tokens,
        output_tokens_max:
          verify.attempts * first.choices.reduce((sum, { output_tokens_max }) => sum + output_tokens_max, 0),
        get begun_at_ms() {
          return candidate!.begun_at_ms
        },
      },
    ]
  }

  get prompt_tokens(): number {
    return this.#attempts.reduce((sum, { prompt_tokens }) => sum + prompt_tokens, 0)
  }

  get usage(): Run['usage'] {
    const all = this.#attempts.map(({ usage }) => usage)
    return {
      prompt_tokens: all.reduce((sum, { prompt_tokens }) => sum + prompt_tokens, 0),
      cached_tokens: all.reduce((sum, { cached_tokens }) => sum + cached_tokens, 0),
    }
  }

  get fingerprint(): string | null {
    return this.#attempts[0]!.fingerprint ?? null
  }

  get prediction(): NonNullable<Run['prediction']> | null {
    const all = this.#attempts.flatMap(({ prediction }) => prediction ?? [])
    if (all.length === 0) return null
    return {
      accepted_tokens: all.reduce((sum, { accepted_tokens }) => sum + accepted_tokens, 0),
      rejected_tokens: all.reduce((sum, { rejected_tokens }) => sum + rejected_tokens, 0),
    }
  }

  get usage_source(): UsageSource | undefined {
    return this.#attempts.at(-1)!.usage_source
  }

  get failure(): RunFailure | null {
    return this.#attempts.at(-1)!.failure ?? null
  }

  get verification(): VerificationReport {
    const chosen = this.#chosen && this.#candidates.indexOf(this.#chosen)
    return {
      language: this.#options.verify.language,
      passed: this.#chosen?.verdict?.passed ?? false,
      chosen,
      attempts: this.#attempts.length,
      candidates: this.#candidates.map(({ attempt, index, verdict, tokens }) => ({
        attempt,
        index,
        passed: verdict?.passed ?? null,
        failure: verdict?.failure ?? null,
        completion_tokens: tokens,
      })),
    }
  }

  /** Candidates that have their places in the runner below. */
  get choices_below(): number {
    return this.#stage === 'running' ? this.#current.filter(({ finish }) => finish === null).length : 0
  }

  /** Candidates that it was taken in for, an attempt. */
  get choices_taken(): number {
    return this.#options.verify.candidates
  }

  start(): void {
    this.#begin(this.#attempts[0]!)
  }

  stop(): RunEvent[] {
    if (this.#stage === 'over') return []
    if (this.#stage === 'running') this.#choose(this.#best())
    return [this.#take()]
  }

  setPaused(paused: boolean): void {
    this.#is_paused = paused
    if (this.#stage === 'running') this.#attempts.at(-1)!.setPaused(paused)
  }

  /** What an event of an attempt is to whoever counts: null where it came too late. */
  heard(event: RunEvent): RunEvent | null {
    if (this.#stage !== 'running' || event.run !== this.#attempts.at(-1)) return null
    const candidate = this.#current[event.choice]!
    this.#note(candidate, event)
    if (candidate.finish !== null) this.#judge(candidate).catch((error) => this.#lose(error))
    return this.#event({ tokens: event.tokens })
  }

  /** The answer, once; null where it was taken before, or the run was stopped. */
  takeAnswer(): RunEvent | null {
    return this.#stage === 'chosen' ? this.#take() : null
  }

  /** An attempt failed below. */
  fail(): void {
    this.#stage = 'over'
    this.#stopping.abort()
    this.#options.told.left(this.#attempts.at(-1)!)
  }

  get #current(): Candidate[] {
    return this.#candidates.slice(-this.#options.verify.candidates)
  }

  #add(attempt: Run): void {
    const number = this.#attempts.push(attempt) - 1
    for (const index of attempt.choices.keys())
      this.#candidates.push({
        ...{ attempt: number, index, text: '', tokens: 0, logprobs: [], token_ids: [] },
        ...{ finish: null, stop: null, verdict: null },
      })
  }

  #begin(attempt: Run): void {
    this.#options.told.began(this, attempt)
    attempt.start()
    if (this.#is_paused) attempt.setPaused(true)
  }

  #note(candidate: Candidate, { text, tokens, logprobs, token_ids, finish, stop = null }: RunEvent): void {
    candidate.text += text
    candidate.tokens += tokens
    candidate.logprobs.push(...logprobs)
    candidate.token_ids.push(...(token_ids ?? []))
    candidate.finish = finish
    candidate.stop = stop
  }

  async #judge(candidate: Candidate): Promise<void> {
    const verdict = await this.#verdictOn(programOf(candidate.text, this.#options.verify.around))
    if (this.#stage !== 'running') return
    candidate.verdict = verdict
    if (verdict.passed) this.#end(candidate)
    else if (this.#current.every(({ verdict }) => verdict !== null)) await this.#tryAgain()
  }

  #verdictOn(program: string): Promise<Verdict> {
    const known = this.#verdicts.get(program)
    if (known) return known
    const { language, tests, around, cpu_s } = this.#options.verify
    const declared = COMPILED.has(language) ? around?.before : undefined
    const context = this.#options.verify.context ?? declared ?? ''
    const task = { language, candidate: program, tests, context, cpu_s }
    const judged = this.#options.judge(task, this.#stopping.signal)
    this.#verdicts.set(program, judged)
    return judged
  }

  /** Shows the next attempt what failed, where there is one. */
  async #tryAgain(): Promise<void> {
    const { verify, prepare } = this.#options
    const best = this.#best()
    const is_last = this.#attempts.length === verify.attempts
    const failed = { answer: best.text, failure: best.verdict!.failure ?? '' }
    const next = is_last ? null : await prepare(repairPrompt(verify, failed))
    if (this.#stage !== 'running') return
    if (!next) {
      this.#end(best)
      return
    }
    this.#options.told.left(this.#attempts.at(-1)!)
    this.#add(next)
    this.#begin(next)
  }

  #end(chosen: Candidate): void {
    this.#choose(chosen)
    this.#options.told.ended(this)
  }

  #lose(error: unknown): void {
    if (this.#stage !== 'running') return
    this.#attempts.at(-1)!.stop()
    this.fail()
    this.#options.told.lost(this, error)
  }

  #choose(chosen: Candidate): void {
    this.#stage = 'chosen'
    this.#chosen = chosen
    this.#stopping.abort()
    const attempt = this.#attempts.at(-1)!
    this.#options.told.left(attempt)
    for (const event of attempt.stop()) {
      this.#late_tokens += event.tokens
      this.#note(this.#current[event.choice]!, event)
    }
  }

  /** What is nearest to a pass: what ran to a test that failed, in the latest attempt; else what has come furthest. */
  #best(): Candidate {
    const judged = this.#candidates.filter(({ verdict }) => verdict !== null)
    if (judged.length === 0)
      return this.#current.reduce((best, one) => (one.text.length > best.text.length ? one : best))
    return judged.findLast(({ verdict }) => FAILED_IN_A_TEST.test(verdict!.failure ?? '')) ?? judged.at(-1)!
  }

  #take(): RunEvent {
    this.#stage = 'over'
    const { text, logprobs, token_ids, finish, stop } = this.#chosen!
    return this.#event({ tokens: this.#late_tokens, text, logprobs, token_ids, finish: finish ?? 'length', stop })
  }

  #event(said: Pick<RunEvent, 'tokens'> & Partial<RunEvent>): RunEvent {
    return { run: this, choice: 0, text: '', logprobs: [], finish: null, ...said }
  }
}

// The judge compiles what the tests expect against the declaration that is completed.
const COMPILED: ReadonlySet<VerifiedLanguage> = new Set(['cpp', 'java', 'go', 'rust'])

const FAILED_IN_A_TEST = /^assert|# got /
