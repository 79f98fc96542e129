// Random operations on a scheduler with a fake engine, with every invariant checked after each. Run as a script it takes the
// number of operations, and fails where one is broken.

import assert from 'node:assert/strict'
import { BLOCK_TOKENS } from '../../gpu-node/run/native/block-pool.ts'
import type { StepResult } from '../../gpu-node/run/native/engine.ts'
import { type PromptOutput, Scheduler, type SchedulerLimits, type Step } from '../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../gpu-node/run/native/sequence.ts'
import { expectedOutput, expectedScores, FakeEngine } from './fake-engine.ts'
import { type Random, seededRandom } from './random.ts'
import { greedy, makeSequence } from './sequences.ts'

const VOCABULARY = 500
const LIMITS: SchedulerLimits = {
  blocks: 24,
  batch_tokens_max: 40,
  sequences_max: 10,
  waiting_max: 30,
  speculation: 'prompt-lookup',
}
const ENGINE = { blocks: LIMITS.blocks, vocab_size: VOCABULARY, eos_id: 2, eos_one_in: 60, period_tokens: 9 }
const OVERTAKEN_MAX = 128 // how many later interactive sequences one of a batch lets pass

// Few beginnings, so that many share them; long enough for blocks that are half of one and half of another.
const BEGINNINGS = [40, 90, 16].map((length, i) => Array.from({ length }, (_, k) => 3 + 100 * i + k))

const COSTS = [null, { step_ms: 1, token_ms: 0 }, { step_ms: 10, token_ms: 1 }, { step_ms: 0, token_ms: 1 }]

interface StepInFlight {
  step: Step
  result: StepResult
}

export class RandomHistory {
  readonly #scheduler = new Scheduler(LIMITS)
  readonly #engine = new FakeEngine(ENGINE)
  readonly #random: Random
  #groups: Sequence[][] = [] // what one client asked for
  readonly #live = new Set<Sequence>()
  readonly #scores = new Map<Sequence, number[]>() // so far, of those whose prompts are scored
  readonly #in_flight: StepInFlight[] = [] // two at most
  finished = 0
  steps_ahead = 0 // scheduled before the one ahead was read
  tokens_dropped = 0 // that they drew for sequences that had ended

  constructor(random: Random) {
    this.#random = random
  }

  get status() {
    return this.#scheduler.status
  }

  run(operations: number): void {
    for (let i = 0; i < operations; i++) {
      this.#operate()
      this.#checkBlocks()
    }
    for (const sequence of this.#live) sequence.paused = false
    for (let steps = 0; this.#live.size > 0 || this.#in_flight.length > 0; steps++) {
      assert(steps < 20_000, 'the rest finishes in bounded time')
      this.#step()
      this.#checkBlocks()
    }
  }

  #operate(): void {
    const choice = this.#random.below(100)
    if (choice < 12) this.#submit()
    else if (choice < 14) this.#cancel()
    else if (choice < 15) this.#disconnect()
    else if (choice < 19) this.#togglePause()
    else this.#step()
  }

  #submit(): void {
    const random = this.#random
    const n = random.chance(0.3) ? 2 + random.below(3) : 1
    if (!this.#scheduler.hasRoomFor(n)) return
    const beginning = random.pick(BEGINNINGS).slice(random.below(16) === 0 ? 1 : 0)
    const own = Array.from({ length: random.below(40) }, () => 3 + random.below(VOCABULARY - 3))
    const scores_prompt = random.chance(0.2)
    const options = {
      prompt: [...beginning, ...own],
      output_tokens_max: random.chance(0.1) ? 0 : 1 + random.below(random.chance(0.2) ? 200 : 40),
      cache_salt: random.pick(['one', 'another']),
      priority: random.pick(['interactive', 'batch'] as const),
    }
    const group: Sequence[] = []
    for (let copy = 0; copy < n; copy++) {
      const sampling = { ...greedy, temperature: random.pick([0, 1]), seed: BigInt(random.below(1e9)), logprobs: 0 }
      const leads = copy === 0
      const sequence = makeSequence({ ...options, sampling, leader: group[0], scores_prompt: scores_prompt && leads })
      if (scores_prompt && leads) this.#scores.set(sequence, [])
      this.#scheduler.submit(sequence)
      this.#live.add(sequence)
      group.push(sequence)
    }
    this.#groups.push(group)
  }

  #cancel(): void {
    if (this.#live.size === 0) return
    const sequence = this.#random.pick([...this.#live])
    this.#scores.delete(sequence) // the copies over its prompt are left without, unless they go with it
    this.#end(sequence)
  }

  #disconnect(): void {
    this.#groups = this.#groups.filter((group) => group.some((sequence) => sequence.state !== 'finished'))
    if (this.#groups.length > 0) for (const sequence of this.#random.pick(this.#groups)) this.#end(sequence)
  }

  #end(sequence: Sequence): void {
    this.#scheduler.cancel(sequence)
    if (!this.#live.delete(sequence)) return
    const output = sequence.tokens.slice(sequence.prompt_tokens)
    assert.deepEqual(output, expectedOutput(sequence, ENGINE).slice(0, output.length))
  }

  #togglePause(): void {
    if (this.#live.size === 0) return
    const sequence = this.#random.pick([...this.#live])
    sequence.paused = !sequence.paused
  }

  // A step begins in one operation and ends in a later one, so that others fall between; the next may have begun by then.
  #step(): void {
    const looks_ahead = this.#in_flight.length === 1 && this.#random.chance(0.7)
    const begins = (this.#in_flight.length === 0 || looks_ahead) && this.#beginStep()
    if (begins) return
    const oldest = this.#in_flight.shift()
    if (oldest) this.#endStep(oldest)
  }

  #beginStep(): boolean {
    const before = new Map([...this.#live].map((sequence) => [sequence, sequence.state]))
    const oldest = oldestOf([...this.#live].filter(({ state, paused }) => state === 'running' && !paused))
    const step = this.#scheduler.schedule(this.#random.pick(COSTS))
    const is_ahead = this.#in_flight.length > 0
    if (step) this.#in_flight.push({ step, result: this.#compute(step) })
    if (step && is_ahead) this.steps_ahead++
    for (const { output_tokens, awaited, output_tokens_max } of this.#live)
      assert(output_tokens + awaited <= output_tokens_max, 'nothing is drawn behind what must be the last token')
    const now = (from: Sequence['state'], to: Sequence['state']) =>
      [...this.#live].filter((sequence) => before.get(sequence) === from && sequence.state === to)
    if (!is_ahead || step) this.#checkOldest(oldest, step)
    if (is_ahead) assert.equal(now('running', 'waiting').length, 0, 'nobody gives way to a step ahead')
    const stayed = now('running', 'running').filter(({ paused }) => !paused)
    for (const victim of now('running', 'waiting')) if (!victim.paused) this.#checkVictim(victim, stayed, oldest)
    const passed = now('waiting', 'waiting').filter((sequence) => !sequence.paused && !sequence.waits_for_leader)
    for (const admitted of now('waiting', 'running')) for (const other of passed) checkTurn(admitted, other)
    return step !== null
  }

  #checkOldest(oldest: Sequence | null, step: Step | null): void {
    if (!oldest) return
    const older = [...this.#live].some((s) => s.state === 'running' && !s.paused && s.arrival < oldest.arrival)
    if (older) return // came in again in this step
    assert.equal(oldest.state, 'running', 'the oldest is never preempted')
    if (oldest.remaining === 0 && (oldest.awaited > 0 || oldest.has_no_output)) return // its last token is being drawn or computed
    const goes_on = step?.parts.some(({ sequence }) => sequence === oldest)
    const waits_for = step?.parts.some(({ sequence }) => sequence.rank < oldest.rank)
    assert(goes_on || (oldest.remaining > 1 && waits_for), 'the oldest goes on, or a prompt of higher priority does')
  }

  #checkVictim(victim: Sequence, stayed: Sequence[], oldest: Sequence | null): void {
    if (victim.waits_for_leader) return // those behind it may have given way too, and come in again while it waits
    for (const other of stayed) {
      const is_of_batch_alone = victim.priority === 'batch' && other.priority === 'interactive'
      assert(other === oldest || is_of_batch_alone || other.rank < victim.rank, 'the last gives way first')
    }
  }

  #compute({ batch }: Step): StepResult {
    const tokens = this.#engine.compute(batch)
    return { tokens, ...this.#engine.logprobs(batch, tokens), logits: null, seconds: 0 }
  }

  #takeScores({ sequence, scores }: PromptOutput): void {
    const known = this.#scores.get(sequence)
    if (known) known.push(...scores.map(({ logprob }) => logprob))
    else assert.equal(scores.length, 0, 'only what is to be scored is')
  }

  #checkScores(sequence: Sequence): void {
    const scores = this.#scores.get(sequence.leader ?? sequence)
    if (scores)
      assert.deepEqual(scores, expectedScores(sequence.prompt), 'a prompt is scored once, before any choice over it')
  }

  #endStep({ step, result }: StepInFlight): void {
    if (!this.#scheduler.isWanted(step) && this.#random.chance(0.5)) return // nobody waits for it
    const over = step.parts.filter(({ sequence, samples }) => samples && sequence.state === 'finished')
    this.tokens_dropped += over.length
    for (const output of this.#scheduler.apply(step, result)) {
      assert(!('is_broken' in output), 'this engine breaks nothing')
      const { sequence, finish } = output
      assert(this.#live.has(sequence), 'only what lives has output, and it ends once')
      if ('scores' in output) this.#takeScores(output)
      else this.#checkScores(sequence)
      if (finish === null) continue
      this.#checkScores(sequence)
      this.#end(sequence)
      this.finished++
      const { length } = expectedOutput(sequence, ENGINE)
      assert.equal(sequence.output_tokens, length, 'it ends where its tokens say')
    }
  }

  // Counted from the sequences alone. A block is written by one or read by many; nothing else is in use.
  #checkBlocks(): void {
    const read = new Set<number>()
    const written = new Set<number>()
    let written_count = 0
    for (const { path, blocks, computed, tokens, state } of this.#live) {
      assert(computed >= path.length * BLOCK_TOKENS, 'no shared block is written')
      assert(computed < tokens.length || state === 'waiting', 'nothing is computed but its own tokens')
      for (let i = 0; i < blocks.length; i++) {
        if (i >= path.length) {
          written.add(blocks[i]!)
          written_count++
          continue
        }
        assert.equal(path[i]!.block, blocks[i], 'a path leads over the blocks it names')
        read.add(blocks[i]!)
      }
    }
    assert.equal(written.size, written_count, 'no block has two writers')
    for (const block of written) assert(!read.has(block), 'no block is read by one and written by another')
    const { blocks_free } = this.#scheduler.status
    assert.equal(blocks_free, LIMITS.blocks - written.size - read.size, 'free + cached + held = total')
  }
}

function oldestOf(sequences: Sequence[]): Sequence | null {
  return sequences.reduce<Sequence | null>((a, b) => (a && a.arrival < b.arrival ? a : b), null)
}

/** Whether `other`, who waits on, had to let `admitted` go first. */
function checkTurn(admitted: Sequence, other: Sequence): void {
  const headStart = ({ priority }: Sequence) => (priority === 'batch' ? OVERTAKEN_MAX : 0)
  const later = admitted.arrival + headStart(admitted) - other.arrival - headStart(other)
  assert(later <= 0, `a sequence was overtaken by one that came ${later} after its turn`)
}

if (import.meta.main) {
  const history = new RandomHistory(seededRandom())
  history.run(Number(process.argv[2]))
  const { steps_ahead, tokens_dropped } = history
  console.log('every invariant held')
  console.log(JSON.stringify({ ...history.status, finished: history.finished, steps_ahead, tokens_dropped }))
}
