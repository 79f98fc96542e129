// Decides what each step computes: continuous batching without phases. A pure state machine: schedule() hands out one
// token budget, apply() takes the step's tokens; whoever calls them runs the engine between, and says what a step costs.
//
// One step may be scheduled ahead, before the one under way is applied: it refers to tokens that are still being drawn. Where
// such a token turns out to be a sequence's last, what the step ahead drew for it is dropped, like a cancelled one's. Nobody
// gives way, nothing is drafted and no grammar is followed in a step ahead; where that is wanted there is none. (A step ahead hides about 2 % of a step,
// a draft saves one now and then: even where it is given up only in the midst of a copy, code is 1–7 % slower written.)
//
// Progress is certain: what could never fit is refused at the door, and the oldest sequence is never preempted, so it
// always finishes. Interactive sequences go first, and each of a batch lets only so many later ones pass. A preempted
// sequence is computed again from its own tokens, as far as the prefix cache lost them; batch-invariant kernels give the
// same text. So do drafts: a drafted token is kept where it is the one that its position draws, whatever the parameters.

import assert from 'node:assert/strict'
import type { FinishReason } from '../../../contract/internal/generation.ts'
import { BlockTables, buildBatch, rowCount, type StepPart } from './batch.ts'
import { BLOCK_TOKENS, blocksFor } from './block-pool.ts'
import { NOTHING_DRAWN, STEPS_UNDER_WAY_MAX, type StepBatch, type StepResult } from './engine.ts'
import { KvMemory } from './kv-memory.ts'
import { MaskTime } from './mask-time.ts'
import type { CachedBlock } from './prefix-cache.ts'
import { logprobsOf, type TokenLogprobs } from './sampling.ts'
import type { Sequence } from './sequence.ts'
import { promptTokensBeside, type StepCost, worthwhileChance } from './step-cost.ts'

export interface SchedulerLimits {
  blocks: number
  batch_tokens_max: number
  sequences_max: number // that run together
  waiting_max: number
  speculation?: 'off' | 'prompt-lookup' // off by default
  vocab_size?: number // the ids of a draft are below it; a test's may be any
}

// A sequence of a batch is overtaken by no more than so many that come after it: then it is as old as they are.
const BATCH_OVERTAKEN_MAX = 128

const DRAFT_TOKENS_MAX = 7 // eight positions are the narrowest product of the GPU's tensor cores, and what an abort may waste
const DRAFTING_SEQUENCES_MAX = 16 // beside more, a draft hardly pays, and looking for them takes time

const NO_DRAFT: readonly number[] = []

export interface Step {
  parts: StepPart[]
  batch: StepBatch
}

export type SequenceOutput = DrawnOutput | PromptOutput | BrokenOutput

export interface DrawnOutput {
  sequence: Sequence
  token: number
  finish: FinishReason | null
  logprobs: TokenLogprobs | null
}

/** What a step made of a prompt alone. */
export interface PromptOutput {
  sequence: Sequence
  scores: readonly TokenLogprobs[] // of its next tokens that are scored
  finish: 'length' | null
}

/** A sequence that no step goes on with: the model has no numbers for it. */
export interface BrokenOutput {
  sequence: Sequence
  is_broken: true
}

/** A sequence that ended because what was computed for it alone threw. */
export interface Fault {
  sequence: Sequence
  error: unknown
}

/** The step being put together. */
interface Plan {
  parts: Map<Sequence, StepPart>
  tokens_left: number
  admits: boolean // who waits may come in: nobody gave way to a stream, and nobody waits in vain
  is_ahead: boolean // a step is under way
  is_late: boolean // somebody would have to give way, which waits for the step under way
}

export class Scheduler {
  readonly #limits: SchedulerLimits
  readonly #mask_time: MaskTime
  readonly #memory: KvMemory
  // Both lists are in order of rank. Sequences wait before they first run and after a preemption.
  readonly #waiting: Sequence[] = []
  readonly #running: Sequence[] = []
  #arrivals = 0
  #preemptions = 0
  #cache_queries = 0 // tokens looked for
  #cache_hits = 0 // tokens found
  #drafts = 0
  #drafts_proposed = 0 // tokens
  #drafts_accepted = 0
  readonly #tables = new BlockTables()
  #last_step: Step | null = null
  #faults: Fault[] = []

  constructor(limits: SchedulerLimits, mask_time = new MaskTime()) {
    this.#limits = limits
    this.#mask_time = mask_time
    this.#memory = new KvMemory(limits.blocks)
  }

  get status() {
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      blocks_total: this.#memory.blocks_total,
      blocks_free: this.#memory.blocks_free,
      blocks_cached: this.#memory.blocks_cached,
      cache_queries: this.#cache_queries,
      cache_hits: this.#cache_hits,
      preemptions: this.#preemptions,
      drafts: this.#drafts,
      drafts_proposed: this.#drafts_proposed,
      drafts_accepted: this.#drafts_accepted,
    }
  }

  /** Tokens that prompt and output of one sequence may have together: what all blocks hold. */
  get sequence_tokens_max(): number {
    return this.#memory.blocks_total * BLOCK_TOKENS
  }

  /** An empty queue takes any one request, so that none is refused for ever. */
  hasRoomFor(sequences: number): boolean {
    return this.#waiting.length === 0 || this.#waiting.length + sequences <= this.#limits.waiting_max
  }

  submit(sequence: Sequence): void {
    assert(sequence.state === 'new' && sequence.prompt_tokens > 0)
    assert(
      sequence.prompt_tokens + sequence.output_tokens_max <= this.sequence_tokens_max,
      'the door lets in only what fits',
    )
    sequence.arrival = this.#arrivals++
    sequence.rank = sequence.arrival + (sequence.priority === 'batch' ? BATCH_OVERTAKEN_MAX + 0.5 : 0)
    sequence.state = 'waiting'
    insertByRank(this.#waiting, sequence)
  }

  /** Ends a sequence from outside; its blocks are free at once. A token that a step in flight draws for it is dropped. */
  cancel(sequence: Sequence): void {
    if (sequence.state !== 'finished') this.#finish(sequence)
  }

  /**
   * The next step, or null when nothing can run, or nothing ahead of the step under way being applied. No more than one is. The
   * cost is an estimate, null where there is none: it decides how much of a prompt and of drafts the step takes along.
   */
  schedule(cost: StepCost | null = null): Step | null {
    while (true) {
      const faults_before = this.#faults.length
      const step = this.#scheduleOnce(cost)
      if (step || this.#faults.length === faults_before) return step // else there is room for others now
    }
  }

  #scheduleOnce(cost: StepCost | null): Step | null {
    const under_way = this.#last_step && this.isWanted(this.#last_step) ? this.#last_step : null
    if (under_way?.parts.some(({ draft }) => draft.length > 0)) return null
    const tokens_left = this.#limits.batch_tokens_max
    const plan: Plan = { parts: new Map(), tokens_left, admits: true, is_ahead: under_way !== null, is_late: false }
    this.#continueStreams(plan)
    if (plan.parts.size > 0 && cost)
      plan.tokens_left = Math.min(plan.tokens_left, promptTokensBeside(plan.parts.size, cost))
    this.#computePrompts(plan)
    if (plan.parts.size === 0 || plan.is_late) return null
    const parts = [...plan.parts.values()]
    if (parts.some(needsItsLastToken)) return null
    if (cost && this.#mayDraft(parts)) {
      if (plan.is_ahead) return null // drafts follow the token that is still being drawn, and are worth more
      this.#draft(parts, plan.tokens_left, cost)
    }
    const whole = byAdapter(parts.filter(({ sequence }) => sequence.state === 'running'))
    if (whole.length === 0) return null
    this.#last_step = { parts: whole, batch: buildBatch(whole, this.#tables) }
    bookAsUnderWay(whole)
    return this.#last_step
  }

  /** Whether a step under way computes anything for a sequence that still runs. Else it need not be applied. */
  isWanted({ parts }: Step): boolean {
    return parts.some(({ sequence }) => sequence.state === 'running' && sequence.in_flight > 0)
  }

  /** Books what a step computed, in the order in which they were scheduled. Sequences that ended meanwhile give no output. */
  apply(step: Step, result: StepResult): SequenceOutput[] {
    const outputs: SequenceOutput[] = []
    let row = 0
    for (const part of step.parts) {
      const { sequence, samples } = part
      const first_row = row
      row += rowCount(part)
      if (sequence.state !== 'running') continue
      sequence.leaveStep(part.tokens, { drew: samples })
      const ends = this.#ofItself(sequence, false, () => this.#take(part, result, first_row, outputs))
      if (sequence.state === 'running') this.#memory.cacheFullBlocks(sequence)
      if (ends) this.#finish(sequence)
    }
    this.#memory.assertAddsUp(this.#running)
    return outputs
  }

  /** Sequences that ended by a fault of their own since this was asked last; they give no output. */
  takeFaults(): Fault[] {
    const faults = this.#faults
    this.#faults = []
    return faults
  }

  // What concerns one sequence alone ends no other: where it throws, that sequence is over.
  #ofItself<T>(sequence: Sequence, otherwise: T, compute: () => T): T {
    try {
      return compute()
    } catch (error) {
      this.#faults.push({ sequence, error })
      this.#memory.forget(sequence)
      this.#finish(sequence)
      return otherwise
    }
  }

  /** Books what a step computed for one sequence. Says whether that ends it. */
  #take(part: StepPart, result: StepResult, first_row: number, outputs: SequenceOutput[]): boolean {
    const { sequence, samples, scores } = part
    if (isBroken(part, result, first_row)) {
      this.#break(sequence, outputs)
      return false
    }
    const has_ended = takePrompt(part, result, first_row, outputs)
    return has_ended || (samples && this.#append(part, result, first_row + scores, outputs))
  }

  // Tokens are taken row after row, for as long as what was drafted is what was drawn. What a wrong draft left in the blocks
  // is written over, and is never seen as computed, so the prefix cache holds none of it.
  #append({ sequence, draft }: StepPart, result: StepResult, first_row: number, outputs: SequenceOutput[]): boolean {
    for (let i = 0; ; i++) {
      const token = result.tokens[first_row + i]!
      if (token === NOTHING_DRAWN) {
        this.#break(sequence, outputs)
        return false
      }
      const finish = sequence.append(token)
      outputs.push({ sequence, token, finish, logprobs: logprobsOf(sequence, result, first_row + i) })
      if (finish !== null) return true
      if (token !== draft[i]) return false
      sequence.keepDraft()
      this.#drafts_accepted++
    }
  }

  // Its numbers may have been wrong for a while: what only it has in the cache nobody is to go on with.
  #break(sequence: Sequence, outputs: SequenceOutput[]): void {
    outputs.push({ sequence, is_broken: true })
    this.#memory.forget(sequence)
    this.#finish(sequence)
  }

  // Each stream gets its one token first, so that no long prompt stalls them. Only a stream can be short of a block, since a
  // prompt comes in with all of its own.
  #continueStreams(plan: Plan): void {
    const unmasked: Sequence[] = []
    for (const sequence of this.#running.slice()) {
      if (lacksMask(sequence)) unmasked.push(sequence)
      else this.#continueStream(plan, sequence)
    }
    unmasked.sort((a, b) => b.unmasked_steps - a.unmasked_steps)
    for (const sequence of unmasked) this.#continueStream(plan, sequence)
  }

  #continueStream(plan: Plan, sequence: Sequence): void {
    const runs = sequence.state === 'running' && !sequence.paused && sequence.remaining === 1
    if (runs && this.#makeRoom(plan, sequence)) this.#giveTokens(plan, sequence)
  }

  // Whoever is alone need not wait: there is nobody to be held up.
  #isMasked(plan: Plan, sequence: Sequence): boolean {
    if (!lacksMask(sequence) || sequence.awaited > 0) return true
    if (plan.parts.size > 0 && !this.#mask_time.is_left) {
      sequence.unmasked_steps++
      return false
    }
    this.#mask_time.spend(() => this.#ofItself(sequence, undefined, () => sequence.reading!.makeMask()))
    return true
  }

  // Whoever waits comes in, and is computed, before those that are behind it in rank.
  #computePrompts(plan: Plan): void {
    for (const sequence of this.#running.slice()) {
      if (sequence.paused || sequence.remaining === 1) continue
      this.#admitWaiting(plan, sequence.rank)
      if (sequence.state === 'running') this.#giveTokens(plan, sequence)
    }
    this.#admitWaiting(plan, Number.POSITIVE_INFINITY)
  }

  // A new sequence comes in when its whole prompt fits and every running one could still take its next block.
  #admitWaiting(plan: Plan, rank_max: number): void {
    for (let i = 0; plan.admits && plan.tokens_left > 0; ) {
      const sequence = this.#waiting[i]
      if (!sequence || sequence.rank > rank_max) return
      if (sequence.paused || sequence.waits_for_leader) i++
      else plan.admits = this.#admit(plan, sequence)
    }
  }

  #admit(plan: Plan, sequence: Sequence): boolean {
    if (!this.#makePlace(plan, sequence)) return false
    const path = this.#memory.find(sequence)
    while (!this.#hasBlocksFor(sequence, path)) if (!this.#preemptFor(plan, sequence)) return false
    this.#waiting.splice(this.#waiting.indexOf(sequence), 1)
    sequence.state = 'running'
    insertByRank(this.#running, sequence)
    this.#memory.comeIn(sequence, path)
    if (sequence.cached_tokens === null) {
      sequence.cached_tokens = sequence.computed
      this.#cache_queries += sequence.prompt_tokens
      this.#cache_hits += sequence.computed
    }
    this.#memory.grow(sequence, sequence.target)
    this.#giveTokens(plan, sequence)
    return true
  }

  #makePlace(plan: Plan, sequence: Sequence): boolean {
    return this.#running.length < this.#limits.sequences_max || this.#preemptFor(plan, sequence)
  }

  #hasBlocksFor(sequence: Sequence, path: readonly CachedBlock[]): boolean {
    const wanted = blocksFor(sequence.target) - path.length + this.#running.length
    return this.#memory.freeBeside(path) >= wanted
  }

  // Who waits takes the place of a slow reader, and an interactive one that of a batch, unless that was passed often enough.
  #preemptFor(plan: Plan, { priority, rank }: Sequence): boolean {
    const oldest = this.#oldest
    const victim =
      this.#running.findLast(({ paused }) => paused) ??
      this.#running.findLast(
        (other) => priority === 'interactive' && other.priority === 'batch' && other.rank > rank && other !== oldest,
      )
    return victim !== undefined && this.#preempt(plan, victim)
  }

  #giveTokens(plan: Plan, sequence: Sequence): void {
    const most = Math.min(sequence.remaining, plan.tokens_left)
    if (most === 0) return
    const reaches_end = most === sequence.remaining && !sequence.has_no_output
    const samples = reaches_end && this.#isMasked(plan, sequence)
    if (sequence.state !== 'running') return
    const tokens = reaches_end && !samples ? most - 1 : most
    if (tokens === 0) return
    if (samples) sequence.unmasked_steps = 0
    this.#memory.grow(sequence, sequence.scheduled + tokens)
    plan.parts.set(sequence, { sequence, tokens, samples, scores: sequence.scoresOf(tokens), draft: NO_DRAFT })
    plan.tokens_left -= tokens
  }

  // Drafts pay beside few streams and no prompt.
  #mayDraft(parts: readonly StepPart[]): boolean {
    const { speculation } = this.#limits
    return (
      speculation === 'prompt-lookup' &&
      parts.length <= DRAFTING_SEQUENCES_MAX &&
      parts.every(({ tokens, samples }) => tokens === 1 && samples)
    )
  }

  // A draft takes no block that a running sequence may want. The rows drawn in a step are never more than the sequences that
  // may run: an engine's memory for their histories is sized by those.
  #draft(parts: readonly StepPart[], tokens_max: number, cost: StepCost): void {
    let tokens_left = Math.min(tokens_max, this.#limits.sequences_max - parts.length)
    const chanceMin = (drafted: number, expected: number) =>
      worthwhileChance(parts.length + drafted, parts.length + expected, cost)
    for (const part of parts) {
      const { sequence } = part
      const blocks = sequence.blocks.length + Math.max(this.#memory.blocks_free - this.#running.length, 0)
      const room = Math.min(blocks * BLOCK_TOKENS - sequence.target, tokens_left, DRAFT_TOKENS_MAX)
      part.draft = this.#ofItself(sequence, NO_DRAFT, () => this.#draftOf(sequence, room, chanceMin))
      if (sequence.state !== 'running') continue
      this.#memory.grow(sequence, sequence.target + part.draft.length)
      tokens_left -= part.draft.length
      if (part.draft.length > 0) this.#drafts++
      this.#drafts_proposed += part.draft.length
    }
  }

  #draftOf(sequence: Sequence, room: number, chanceMin: (drafted: number, expected: number) => number) {
    const draft = this.#masked(sequence, sequence.propose(room, chanceMin))
    const { vocab_size = Number.POSITIVE_INFINITY } = this.#limits
    assert(draft.length <= Math.max(room, 0), 'a draft keeps to its room')
    assert(
      draft.every((id) => id >= 0 && id < vocab_size),
      'a draft is of the vocabulary',
    )
    return draft
  }

  #masked({ reading }: Sequence, draft: readonly number[]): readonly number[] {
    const mayMake = (make: () => void) => {
      const may = this.#mask_time.is_left
      if (may) this.#mask_time.spend(make)
      return may
    }
    return reading?.masked(draft, mayMake) ?? draft
  }

  #makeRoom(plan: Plan, sequence: Sequence): boolean {
    while (this.#memory.blocks_free < blocksFor(sequence.target) - sequence.blocks.length) {
      const victim = this.#victimFor(sequence)
      if (!victim || !this.#preempt(plan, victim)) return false
      plan.admits = false
    }
    return true
  }

  // Nobody reads a paused stream, so it gives way first, whatever its age; else the last in rank, and never one before
  // this one, except to the oldest, which nobody holds up.
  #victimFor(sequence: Sequence): Sequence | undefined {
    const oldest = this.#oldest
    return (
      this.#running.findLast(({ paused }) => paused) ??
      this.#running.findLast(
        (other) => other !== sequence && other !== oldest && (other.rank > sequence.rank || sequence === oldest),
      )
    )
  }

  /** The oldest of those that run and are read. */
  get #oldest(): Sequence | null {
    let oldest: Sequence | null = null
    for (const sequence of this.#running) {
      if (!sequence.paused && (oldest === null || sequence.arrival < oldest.arrival)) oldest = sequence
    }
    return oldest
  }

  #preempt(plan: Plan, sequence: Sequence): boolean {
    plan.is_late ||= plan.is_ahead
    if (plan.is_ahead) return false
    sequence.startOver()
    plan.tokens_left += plan.parts.get(sequence)?.tokens ?? 0
    plan.parts.delete(sequence)
    this.#preemptions++
    this.#release(sequence)
    sequence.state = 'waiting'
    insertByRank(this.#waiting, sequence)
    return true
  }

  #finish(sequence: Sequence): void {
    if (sequence.state === 'waiting') this.#waiting.splice(this.#waiting.indexOf(sequence), 1)
    if (sequence.state === 'running') this.#release(sequence)
    sequence.state = 'finished'
  }

  #release(sequence: Sequence): void {
    this.#running.splice(this.#running.indexOf(sequence), 1)
    this.#memory.leave(sequence)
  }
}

/** Neighbours of one adapter are computed together. */
function byAdapter(parts: StepPart[]): StepPart[] {
  return parts.sort((a, b) => a.sequence.adapter - b.sequence.adapter)
}

function lacksMask({ reading }: Sequence): boolean {
  return reading !== null && !reading.has_mask
}

// What a grammar lets come next follows from the token that is still being drawn.
function needsItsLastToken({ sequence, samples }: StepPart): boolean {
  return samples && sequence.reading !== null && sequence.awaited > 0
}

function bookAsUnderWay(parts: readonly StepPart[]): void {
  let row = 0
  for (const part of parts) {
    const { sequence, tokens, samples, scores } = part
    assert(sequence.awaited < STEPS_UNDER_WAY_MAX, 'no more than one step is scheduled ahead')
    sequence.enterStep(tokens, samples ? row + scores : null)
    row += rowCount(part)
  }
}

/** Whether a row that its sequence cannot do without drew nothing: one of its prompt's scores, or its next token. */
function isBroken({ samples, scores }: StepPart, { tokens }: StepResult, first_row: number): boolean {
  return tokens.subarray(first_row, first_row + scores + (samples ? 1 : 0)).includes(NOTHING_DRAWN)
}

/** Says whether the sequence ends with its prompt, and that was all. */
function takePrompt(
  { sequence, scores }: StepPart,
  result: StepResult,
  first_row: number,
  outputs: SequenceOutput[],
): boolean {
  const ends = sequence.has_no_output && sequence.computed === sequence.prompt_tokens
  if (scores === 0 && !ends) return false
  const scored = Array.from({ length: scores }, (_, i) => logprobsOf(sequence, result, first_row + i)!)
  sequence.scored += scores
  outputs.push({ sequence, scores: scored, finish: ends ? 'length' : null })
  return ends
}

function insertByRank(list: Sequence[], sequence: Sequence): void {
  const before = list.findLastIndex((other) => other.rank < sequence.rank)
  list.splice(before + 1, 0, sequence)
}
