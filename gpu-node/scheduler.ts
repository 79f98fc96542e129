// Decides what each step computes: continuous batching without phases. A pure state machine: schedule() hands out one
// token budget, apply() takes the step's tokens; whoever calls them runs the engine between.
//
// Progress is certain: what could never fit is refused at the door, and the oldest sequence is never preempted, so it
// always finishes. A preempted sequence is computed again from its own tokens, as far as the prefix cache lost them;
// batch-invariant kernels give the same text.

import assert from 'node:assert/strict'
import type { FinishReason } from '../contract/generation.ts'
import { buildBatch, type StepPart } from './batch.ts'
import { BLOCK_TOKENS, BlockPool, blocksFor } from './block-pool.ts'
import type { StepBatch, StepResult } from './engine.ts'
import { type CachedBlock, PrefixCache } from './prefix-cache.ts'
import { logprobsOf, type TokenLogprobs } from './sampling.ts'
import type { Sequence } from './sequence.ts'

export interface SchedulerLimits {
  blocks: number
  batch_tokens_max: number
  sequences_max: number // that run together
  waiting_max: number
}

export interface Step {
  parts: StepPart[]
  batch: StepBatch
}

export interface SequenceOutput {
  sequence: Sequence
  token: number
  finish: FinishReason | null
  logprobs: TokenLogprobs | null
}

/** The step being put together. */
interface Plan {
  tokens: Map<Sequence, number>
  tokens_left: number
  preempted: boolean
}

export class Scheduler {
  readonly #limits: SchedulerLimits
  readonly #pool: BlockPool
  readonly #cache = new PrefixCache()
  // Both in order of arrival. Sequences wait before they first run and after a preemption.
  readonly #waiting: Sequence[] = []
  readonly #running: Sequence[] = []
  #arrivals = 0
  #preemptions = 0
  #cache_queries = 0 // tokens looked for
  #cache_hits = 0 // tokens found

  constructor(limits: SchedulerLimits) {
    this.#limits = limits
    this.#pool = new BlockPool(limits.blocks)
  }

  get status() {
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      blocks_total: this.#pool.total,
      blocks_free: this.#available, // cached ones that nobody uses included
      blocks_cached: this.#cache.size,
      cache_queries: this.#cache_queries,
      cache_hits: this.#cache_hits,
      preemptions: this.#preemptions,
    }
  }

  /** Tokens that prompt and output of one sequence may have together, for lack of blocks. */
  get tokens_max(): number {
    return this.#pool.total * BLOCK_TOKENS
  }

  /** An empty queue takes any one request, so that none is refused for ever. */
  hasRoomFor(sequences: number): boolean {
    return this.#waiting.length === 0 || this.#waiting.length + sequences <= this.#limits.waiting_max
  }

  submit(sequence: Sequence): void {
    assert(sequence.state === 'new' && sequence.prompt_tokens > 0)
    assert(sequence.prompt_tokens + sequence.output_tokens_max <= this.tokens_max, 'the door lets in only what fits')
    sequence.arrival = this.#arrivals++
    sequence.state = 'waiting'
    this.#waiting.push(sequence)
  }

  /** Ends a sequence from outside; its blocks are free at once. A token that a step in flight draws for it is dropped. */
  cancel(sequence: Sequence): void {
    if (sequence.state !== 'finished') this.#finish(sequence)
  }

  /** The next step, or null when nothing can run. Called only while no step is in flight. */
  schedule(): Step | null {
    const plan: Plan = { tokens: new Map(), tokens_left: this.#limits.batch_tokens_max, preempted: false }
    this.#continueRunning(plan)
    if (!plan.preempted) this.#admitWaiting(plan)
    if (plan.tokens.size === 0) return null
    const parts = [...plan.tokens].map(([sequence, tokens]) => ({
      sequence,
      tokens,
      samples: tokens === sequence.remaining,
    }))
    return { parts, batch: buildBatch(parts) }
  }

  /** Books what a step computed. Sequences cancelled while it ran give no output. */
  apply(step: Step, result: StepResult): SequenceOutput[] {
    const outputs: SequenceOutput[] = []
    let row = 0
    for (const { sequence, tokens, samples } of step.parts) {
      const drawn = samples ? row++ : null
      if (sequence.state !== 'running') continue
      sequence.computed += tokens
      this.#cacheFullBlocks(sequence)
      if (drawn !== null) outputs.push(this.#append(sequence, result, drawn))
    }
    this.#assertBlocksAddUp()
    return outputs
  }

  #append(sequence: Sequence, result: StepResult, row: number): SequenceOutput {
    const token = result.tokens[row]!
    sequence.tokens.push(token)
    const finish = finishAfter(sequence, token)
    if (finish !== null) this.#finish(sequence)
    return { sequence, token, finish, logprobs: logprobsOf(sequence, result, row) }
  }

  // One token a stream first, so that no long prompt stalls them; then prompts, the oldest first. Only a stream can be
  // short of a block, since a prompt comes in with all of its own; and who gives way is younger, so its turn is yet to come.
  #continueRunning(plan: Plan): void {
    const runnable = this.#running.filter((sequence) => !sequence.paused)
    const decodes = runnable.filter((sequence) => sequence.remaining === 1)
    const prefills = runnable.filter((sequence) => sequence.remaining > 1)
    for (const sequence of [...decodes, ...prefills]) {
      if (sequence.state === 'running') this.#giveTokens(plan, sequence)
    }
  }

  // A new sequence comes in when its whole prompt fits and every running one could still take its next block.
  #admitWaiting(plan: Plan): void {
    for (const sequence of this.#waiting.filter((candidate) => !candidate.paused)) {
      if (plan.tokens_left === 0 || this.#running.length >= this.#limits.sequences_max) return
      if (sequence.waits_for_leader) continue
      const path = this.#cache.find(sequence.cache_salt, sequence.blockTokens(sequence.sharable_blocks))
      if (!this.#freeForAdmission(plan, blocksFor(sequence.target), path)) return
      this.#admit(sequence, path)
      this.#giveTokens(plan, sequence)
    }
  }

  #admit(sequence: Sequence, path: CachedBlock[]): void {
    this.#waiting.splice(this.#waiting.indexOf(sequence), 1)
    sequence.state = 'running'
    insertByArrival(this.#running, sequence)
    this.#cache.use(path)
    sequence.path = path
    sequence.blocks = path.map(({ block }) => block)
    sequence.computed = path.length * BLOCK_TOKENS
    if (sequence.cached_tokens === null) {
      sequence.cached_tokens = sequence.computed
      this.#cache_queries += sequence.prompt_tokens
      this.#cache_hits += sequence.computed
    }
    this.#takeBlocks(sequence, sequence.target)
  }

  #freeForAdmission(plan: Plan, blocks: number, path: readonly CachedBlock[]): boolean {
    for (;;) {
      const unused_in_path = path.filter(({ users }) => users === 0).length
      if (this.#available - unused_in_path >= blocks - path.length + this.#running.length) return true
      const victim = this.#running.findLast((sequence) => sequence.paused)
      if (!victim) return false
      this.#preempt(plan, victim)
    }
  }

  #giveTokens(plan: Plan, sequence: Sequence): void {
    const tokens = Math.min(sequence.remaining, plan.tokens_left)
    if (tokens === 0 || !this.#makeRoom(plan, sequence, sequence.computed + tokens)) return
    this.#takeBlocks(sequence, sequence.computed + tokens)
    plan.tokens.set(sequence, tokens)
    plan.tokens_left -= tokens
  }

  #makeRoom(plan: Plan, sequence: Sequence, tokens: number): boolean {
    while (this.#available < blocksFor(tokens) - sequence.blocks.length) {
      const victim = this.#victimFor(sequence)
      if (!victim) return false
      this.#preempt(plan, victim)
    }
    return true
  }

  // Nobody reads a paused stream, so it gives way first, whatever its age; else the youngest, and never an older one.
  #victimFor(sequence: Sequence): Sequence | undefined {
    const youngest = this.#running.at(-1)!
    return this.#running.findLast((other) => other.paused) ?? (youngest === sequence ? undefined : youngest)
  }

  #preempt(plan: Plan, sequence: Sequence): void {
    assert(!plan.tokens.has(sequence), 'only what runs later in the step gives way')
    plan.preempted = true
    this.#preemptions++
    this.#release(sequence)
    sequence.computed = 0
    sequence.state = 'waiting'
    insertByArrival(this.#waiting, sequence)
  }

  #takeBlocks(sequence: Sequence, tokens: number): void {
    while (sequence.blocks.length < blocksFor(tokens)) sequence.blocks.push(this.#takeBlock())
  }

  #takeBlock(): number {
    if (this.#pool.free === 0) this.#pool.giveBack([this.#cache.evict()])
    return this.#pool.take()
  }

  // At once, not when it finishes: whoever comes meanwhile with the same beginning finds it. Two that computed the same
  // side by side have the same bytes, so the second takes the first's block and gives up its own.
  #cacheFullBlocks(sequence: Sequence): void {
    const { path, blocks, cache_salt } = sequence
    for (let i = path.length; i < Math.floor(sequence.computed / BLOCK_TOKENS); i++) {
      const own = { tokens: sequence.blockTokensAt(i), block: blocks[i]! }
      const cached = this.#cache.add(cache_salt, path.at(-1), own)
      if (cached.block !== own.block) this.#pool.giveBack([own.block])
      blocks[i] = cached.block
      path.push(cached)
    }
  }

  #finish(sequence: Sequence): void {
    if (sequence.state === 'waiting') this.#waiting.splice(this.#waiting.indexOf(sequence), 1)
    if (sequence.state === 'running') this.#release(sequence)
    sequence.state = 'finished'
  }

  // Safe while a step in flight still uses the blocks: the engine runs steps in order, and a new owner comes later.
  #release(sequence: Sequence): void {
    this.#running.splice(this.#running.indexOf(sequence), 1)
    this.#pool.giveBack(sequence.blocks.slice(sequence.path.length))
    this.#cache.release(sequence.path)
    sequence.blocks = []
    sequence.path = []
  }

  get #available(): number {
    return this.#pool.free + this.#cache.unused
  }

  #assertBlocksAddUp(): void {
    const held = this.#running.reduce((sum, { blocks, path }) => sum + blocks.length - path.length, 0)
    assert.equal(this.#pool.free + this.#cache.size + held, this.#pool.total, 'free + cached + held = total')
  }
}

function finishAfter(sequence: Sequence, token: number): FinishReason | null {
  if (sequence.stop_ids.has(token)) return 'stop'
  return sequence.output_tokens === sequence.output_tokens_max ? 'length' : null
}

function insertByArrival(list: Sequence[], sequence: Sequence): void {
  const older = list.findLastIndex((other) => other.arrival < sequence.arrival)
  list.splice(older + 1, 0, sequence)
}
