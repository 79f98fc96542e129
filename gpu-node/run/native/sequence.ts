// One run of the model over one prompt. There is no prefill or decode phase, only how far behind its target it is. Every counter
// is a stretch or a position of one row of tokens:
//
//               0                prompt_tokens        tokens.length
//   its tokens  ├──── prompt ────┼──── output ────────┤
//   its draws                                         ├── awaited ──┤   of steps under way: not known yet
//   its KV      ├──── computed ────────┼─ in_flight ─┼── remaining ─┤
//               in `blocks`                          scheduled      target
//
// A step that is put together moves tokens from `remaining` to `in_flight`, and where none remain it draws one: `awaited`, in
// the row `awaited_row` of that step (the next step refers to it by that). When it has ended, what was in flight is computed, and
// what was awaited is the last of its tokens. So a step can be put together before the one ahead of it was read. A preempted
// sequence has nothing in flight; it starts over with `computed` 0, and the same tokens are computed once more.

import assert from 'node:assert/strict'
import type { FinishReason, Priority } from '../../../contract/internal/generation.ts'
import { BLOCK_TOKENS } from './block-pool.ts'
import { NO_ADAPTER, referenceTo } from './engine.ts'
import type { Reading } from './grammar/grammar.ts'
import { Prediction } from './prediction.ts'
import type { CachedBlock } from './prefix-cache.ts'
import { PromptLookup } from './prompt-lookup.ts'
import type { RowSampling } from './sampling.ts'

const NONE: readonly number[] = []

export interface SequenceOptions {
  prompt: readonly number[]
  output_tokens_max: number
  output_tokens_min: number // before so many, none of stop_ids is drawn
  stop_ids: ReadonlySet<number> // each ends the sequence
  undrawable_ids?: readonly number[] // rows of the network that no piece has
  sampling: RowSampling
  priority: Priority
  /** Whose cached blocks it may use. */
  cache_salt: string
  /** The place of the adapter that it is computed with. */
  adapter?: number
  /** What its output is predicted to be. */
  predicted?: readonly number[] | undefined
  /** A sequence over the same prompt that computes it first; this one waits for those blocks. */
  leader?: Sequence | undefined
  /** What its output is to be a text of. */
  reading?: Reading | null
  /** Whether each token of its prompt is scored: how likely it is behind those before it. */
  scores_prompt?: boolean
  /** Whether a value is asked of the last token of its prompt, by a model that judges. */
  is_judged?: boolean
}

export class Sequence {
  readonly prompt_tokens: number
  readonly output_tokens_max: number
  readonly output_tokens_min: number
  readonly stop_ids: ReadonlySet<number>
  readonly undrawable_ids: readonly number[]
  readonly sampling: RowSampling
  readonly priority: Priority
  readonly cache_salt: string
  readonly leader: Sequence | null
  readonly adapter: number
  readonly reading: Reading | null
  readonly is_judged: boolean
  readonly tokens: number[] // prompt, then output
  state: 'new' | 'waiting' | 'running' | 'finished' = 'new'
  arrival = 0 // order of submission; a smaller one is older
  rank = 0 // whose turn it is: by priority and age; a smaller one goes first
  first_step_at_ms: number | null = null // monotonic; when its first step began
  unmasked_steps = 0 // that went without it, one after the other, since its mask was not at hand
  paused = false // its reader is slow: keeps its blocks, gets no tokens
  computed = 0 // leading tokens whose KV is in `blocks`
  in_flight = 0 // tokens behind those, that steps under way compute
  awaited = 0 // tokens that steps under way draw, not counting drafts
  awaited_row = 0 // of the step that draws the last of them
  blocks: number[] = []
  path: CachedBlock[] = [] // its leading full blocks, as the prefix cache knows them; those behind it are its own
  cached_tokens: number | null = null // found in the cache when it first ran
  scored: number // leading tokens of its prompt whose scores are known; all of them where none are wanted
  readonly #block_tokens: string[] = []
  /** What the caller predicts of its output, where they do. */
  readonly prediction: Prediction | null
  #lookup: PromptLookup | null = null

  constructor(options: SequenceOptions) {
    this.prompt_tokens = options.prompt.length
    this.output_tokens_max = options.output_tokens_max
    this.output_tokens_min = options.output_tokens_min
    this.stop_ids = options.stop_ids
    this.undrawable_ids = options.undrawable_ids ?? NONE
    this.sampling = options.sampling
    this.priority = options.priority
    this.cache_salt = options.cache_salt
    this.leader = options.leader ?? null
    this.adapter = options.adapter ?? NO_ADAPTER
    this.reading = options.reading ?? null
    this.is_judged = options.is_judged ?? false
    this.tokens = [...options.prompt]
    this.scored = options.scores_prompt ? 1 : this.prompt_tokens // nothing comes before the first
    this.prediction = options.predicted ? new Prediction(options.predicted, this.tokens) : null
  }

  /** Counts its tokens, with those that steps under way draw. */
  get target(): number {
    return this.tokens.length + this.awaited
  }

  /** Where the next step begins. */
  get scheduled(): number {
    return this.computed + this.in_flight
  }

  /** Tokens to be scheduled; none behind one that is sure to be the last. */
  get remaining(): number {
    const goes_on = this.has_no_output || this.output_tokens + this.awaited < this.output_tokens_max
    return goes_on ? this.target - this.scheduled : 0
  }

  /** Only its prompt is computed. */
  get has_no_output(): boolean {
    return this.output_tokens_max === 0
  }

  /** How many tokens of its prompt are scored by the next so many, each by the one before it; or whether the value of its last is told. */
  scoresOf(tokens: number): number {
    const first = Math.max(this.scheduled, this.scored - 1)
    const end = Math.min(this.scheduled + tokens, this.scoring_end)
    return Math.max(end - first, 0)
  }

  /** Behind the last token of its prompt that tells something: a value, or a score of the next. */
  get scoring_end(): number {
    return this.is_judged ? this.prompt_tokens : this.prompt_tokens - 1
  }

  /** Comes in with the blocks of its beginning that the cache has. */
  beginWith(path: CachedBlock[]): void {
    this.path = path
    this.blocks = path.map(({ block }) => block)
    this.computed = path.length * BLOCK_TOKENS
  }

  /** A step was put together that computes so many of its tokens, and draws one in this row where none remain. */
  enterStep(tokens: number, row: number | null): void {
    assert(this.awaited < 2, 'no more than one step is scheduled ahead')
    this.in_flight += tokens
    if (row === null) return
    this.awaited++
    this.awaited_row = row
  }

  /** The oldest of those steps has ended. What it drew is to be appended. */
  leaveStep(tokens: number, { drew }: { drew: boolean }): void {
    this.in_flight -= tokens
    this.computed += tokens
    if (drew) this.awaited--
  }

  /** A token was drawn. Says why it is the last, where it is. */
  append(token: number): FinishReason | null {
    this.tokens.push(token)
    if (this.stop_ids.has(token)) return 'stop'
    const end = this.reading?.append(token) ?? null
    return end ?? (this.output_tokens === this.output_tokens_max ? 'length' : null)
  }

  /** The drafted token behind its last one was right: it was computed in the same step. */
  keepDraft(): void {
    this.computed++
  }

  /** Gives way: all of it is to be computed again. */
  startOver(): void {
    assert(this.in_flight === 0 && this.awaited === 0, 'nobody gives way while a step computes for it')
    this.computed = 0
  }

  /** A token up to its target, as a step takes it. */
  tokenAt(i: number): number {
    return this.tokens[i] ?? referenceTo(this.awaited_row)
  }

  get output_tokens(): number {
    return this.tokens.length - this.prompt_tokens
  }

  get prompt(): number[] {
    return this.tokens.slice(0, this.prompt_tokens)
  }

  /**
   * Blocks of its tokens that a cache may spare it: not those whose logits are wanted, which are the last token's and those of tokens
   * before one that is to be scored.
   */
  get sharable_blocks(): number {
    const spared = this.scored < this.prompt_tokens ? this.scored : this.target
    return Math.floor((spared - 1) / BLOCK_TOKENS)
  }

  /** The tokens of its first full blocks, as the prefix cache spells them. */
  *blockTokens(blocks: number): Generator<string> {
    for (let i = 0; i < blocks; i++) yield this.blockTokensAt(i)
  }

  blockTokensAt(i: number): string {
    this.#block_tokens[i] ??= this.tokens.slice(i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS).join()
    return this.#block_tokens[i]
  }

  /** Whether its prompt is being computed by another, whose blocks it can then share. */
  get waits_for_leader(): boolean {
    if (!this.leader || this.leader.state === 'finished') return false
    if (this.leader.scored < this.prompt_tokens) return true // the scores are its own, too
    return this.leader.computed < Math.floor((this.prompt_tokens - 1) / BLOCK_TOKENS) * BLOCK_TOKENS
  }

  /** What the token behind its target and so many more may not be. */
  bannedIds(more: number): readonly number[] {
    const ends_too_early = this.output_tokens + this.awaited + more < this.output_tokens_min
    return ends_too_early ? [...this.undrawable_ids, ...this.stop_ids] : this.undrawable_ids
  }

  /** Guesses at what comes after its tokens: as it is predicted, or else as it was before, or what its grammar forces; none beyond its end. */
  propose(max: number, chanceMin: (drafted: number, expected: number) => number): readonly number[] {
    this.#lookup ??= new PromptLookup(this.tokens)
    const room = Math.min(max, this.output_tokens_max - this.output_tokens - 1)
    const predicted = this.prediction?.propose(room, chanceMin) ?? NONE
    const guessed = predicted.length > 0 ? predicted : this.#lookup.propose(room, chanceMin)
    const forced = guessed.length < room && this.reading ? worthwhile(this.reading.forced(room), chanceMin) : NONE
    const draft = forced.length > guessed.length ? forced : guessed
    const end = draft.findIndex((token) => this.stop_ids.has(token))
    const kept = end < 0 ? draft : draft.slice(0, end)
    return this.reading?.cut(kept) ?? kept
  }
}

const FORCED_CHANCE = 0.9 // that a model spells what is forced in these tokens

function worthwhile(tokens: number[], chanceMin: (drafted: number, expected: number) => number): readonly number[] {
  let chance = 1
  let expected = 0
  for (const i of tokens.keys()) {
    chance *= FORCED_CHANCE
    if (chance < chanceMin(i, expected)) return tokens.slice(0, i)
    expected += chance
  }
  return tokens
}
