// A sequence that the model has no finite numbers for ends alone: with faults planted in it, what runs beside it says the same bytes.

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { loadEngine } from '../../../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import { NativeRunner } from '../../../../gpu-node/run/native/runner.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import type { HeldConstraint, Run } from '../../../../gpu-node/run/runner.ts'
import { draws } from '../../../support/draws.ts'
import { FakeEngine } from '../../../support/fake-engine.ts'
import { generateRequest } from '../../../support/generate.ts'
import { seededRandom } from '../../../support/random.ts'
import { tensorValues } from '../../../support/random-weights.ts'
import { folderWith, safetensorsFile } from '../../../support/safetensors.ts'
import { makeSequence } from '../../../support/sequences.ts'
import { tokenizerModel } from '../../../support/tokenizer-model.ts'

const NEIGHBOURS = 15
const VOCAB_SIZE = 265
const BROKEN = 259 // the id of the piece "q", whose sequences overflow
const random = seededRandom()

const config = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: VOCAB_SIZE,
  hidden_size: 16,
  intermediate_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 256,
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
}

/** The first number of the stream is that of "q" alone, and the norm of the first MLP makes it overflow. What follows a "q" reads saturated keys. */
function plantedFolder(): string {
  const planted: Record<string, (values: Float32Array) => void> = {
    'model.embed_tokens.weight': (values) => {
      for (let id = 0; id < VOCAB_SIZE; id++) values[id * 16] = id === BROKEN ? 8 : 0
    },
    'lm_head.weight': (values) => values.fill(0, BROKEN * 16, (BROKEN + 1) * 16), // and it is drawn by nobody
    'model.layers.0.post_attention_layernorm.weight': (values) => values.fill(1e30, 0, 1),
    'model.layers.0.mlp.gate_proj.weight': (values) => values.fill(4, 0, 1),
    'model.layers.0.mlp.up_proj.weight': (values) => values.fill(4, 0, 1),
    ...Object.fromEntries(
      [0, 1].flatMap((layer) => [
        [`model.layers.${layer}.self_attn.o_proj.weight`, (values: Float32Array) => values.fill(0, 0, 16)],
        [`model.layers.${layer}.mlp.down_proj.weight`, (values: Float32Array) => values.fill(0, 0, 8)],
      ]),
    ),
  }
  const shapes = {
    'model.embed_tokens.weight': [VOCAB_SIZE, 16],
    'model.norm.weight': [16],
    'lm_head.weight': [VOCAB_SIZE, 16],
  }
  const layers = [0, 1].flatMap((layer) =>
    Object.entries({
      input_layernorm: [16],
      post_attention_layernorm: [16],
      'self_attn.q_proj': [16, 16],
      'self_attn.k_proj': [16, 16],
      'self_attn.v_proj': [16, 16],
      'self_attn.o_proj': [16, 16],
      'mlp.gate_proj': [8, 16],
      'mlp.up_proj': [8, 16],
      'mlp.down_proj': [16, 8],
    }).map(([name, shape]): [string, number[]] => [`model.layers.${layer}.${name}.weight`, shape]),
  )
  const tensors = [...Object.entries(shapes), ...layers].map(([name, shape]) => {
    const values = tensorValues(`broken:${name}`, shape)
    planted[name]?.(values)
    return [name, { dtype: 'F32', shape, data: Buffer.from(values.buffer) }]
  })
  const pieces = ['q', 'a', 'b', 'ab', '\u2581', 'ba'].map((text, i) => ({ text, score: -i }))
  return folderWith({
    'config.json': JSON.stringify(config),
    'tokenizer.model': tokenizerModel({ pieces }),
    'model.safetensors': safetensorsFile(Object.fromEntries(tensors)),
  })
}

const LIMITS = { blocks: 200, batch_tokens_max: 64, sequences_max: 20, waiting_max: 40 }

async function realRunner() {
  const model = readModelFolder(plantedFolder())
  const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 2, ...LIMITS }, () => {})
  const limits = { ...LIMITS, speculation: 'prompt-lookup' as const }
  const faulty: unknown[] = []
  const onFault = (error: unknown) => faulty.push(error)
  const runner = new NativeRunner({ model, engine, limits, lookahead: 'off', onFault })
  onTestFinished(() => runner.close())
  const texts = new Map<Run, string>()
  const failed = new Set<Run>()
  const open = new Set<Run>()
  await runner.open({
    onStep: async (step) => {
      for (const { run, text, finish } of step.events) {
        texts.set(run, (texts.get(run) ?? '') + text)
        if (finish !== null) open.delete(run)
      }
      for (const run of step.failed ?? []) {
        failed.add(run)
        open.delete(run)
      }
    },
    onFailed: (error) => expect.unreachable(String(error)),
  })
  const start = (text: string, changes = {}, held: HeldConstraint | null = null) => {
    const request = generateRequest({ prompts: [[{ text }]], max_tokens: 24, ignore_eos: true, ...changes })
    const run = runner.prepare(request, 'salt', held)
    open.add(run)
    run.start()
    return run
  }
  const whenIdle = async () => {
    while (open.size > 0) await sleep(1)
  }
  return { runner, texts, failed, faulty, start, whenIdle }
}

const drawText = () =>
  Array.from({ length: 1 + random.below(60) }, () => random.pick(['a', 'b', 'ab', ' ', 'c'])).join('')

test('the runner goes on, and the texts of 15 neighbours are the same without it', async () => {
  for (let round = 0; round < draws('BROKEN', { few: 3, all: 40 }); round++) {
    const { runner, texts, failed, start, whenIdle } = await realRunner()
    const prompts = Array.from({ length: NEIGHBOURS }, drawText)
    const alone = prompts.map((text) => start(text))
    await whenIdle()
    const at = random.below(NEIGHBOURS)
    const beside: Run[] = []
    let broken: Run | null = null
    for (const [i, text] of prompts.entries()) {
      if (i === at) broken = start(`${drawText()}q`, { n: 1 + random.below(3) })
      beside.push(start(text))
    }
    await whenIdle()
    expect([...failed].map((run) => run === broken)).toEqual([true])
    expect(beside.map((run) => texts.get(run))).toEqual(alone.map((run) => texts.get(run)))
    expect(texts.get(broken!)).toBeUndefined()
    expect(runner.load).toMatchObject({ running: 0, waiting: 0, blocks_free: LIMITS.blocks })
  }
})

test('the scores of a prompt that it has no numbers for are not told, and its neighbours say the same', async () => {
  const { texts, failed, start, whenIdle } = await realRunner()
  const prompts = Array.from({ length: NEIGHBOURS }, drawText)
  const alone = prompts.map((text) => start(text))
  await whenIdle()
  const scored = [0, 3].map((max_tokens) =>
    start(`${drawText()}q${drawText()}`, { echo: true, logprobs: 1, max_tokens }),
  )
  const beside = prompts.map((text) => start(text))
  await whenIdle()
  expect([...failed].map((run) => scored.indexOf(run)).toSorted()).toEqual([0, 1])
  expect(scored.map((run) => texts.get(run))).toEqual([undefined, undefined])
  expect(beside.map((run) => texts.get(run))).toEqual(alone.map((run) => texts.get(run)))
})

// What is computed for one sequence alone, and throws or says what cannot be.
const faults: [string, (choice: PlantedChoice) => void][] = [
  ['a draft cannot be made', ({ sequence }) => Object.assign(sequence, { propose: fail })],
  ['a draft is of no vocabulary', ({ sequence }) => Object.assign(sequence, { propose: () => [VOCAB_SIZE] })],
  ['a draft is below any vocabulary', ({ sequence }) => Object.assign(sequence, { propose: () => [5, -7] })],
  [
    'a draft is longer than its room',
    ({ sequence }) => Object.assign(sequence, { propose: (room: number) => new Array(Math.max(room, 0) + 1).fill(5) }),
  ],
  [
    'its grammar has no mask',
    ({ sequence: { reading } }) =>
      Object.defineProperties(reading!, { has_mask: { value: false }, makeMask: { value: fail } }),
  ],
  ['its token cannot be taken', ({ sequence }) => Object.assign(sequence, { append: fail })],
  ['its text cannot be made', (choice) => Object.assign(choice, { take: fail })],
]

interface PlantedChoice {
  sequence: Sequence
}

function fail(): never {
  throw new Error('planted')
}

test.each(faults)('where %s, its sequence ends alone and 15 neighbours say the same', async (_, plant) => {
  const { runner, texts, failed, faulty, start, whenIdle } = await realRunner()
  const prompts = Array.from({ length: NEIGHBOURS }, drawText)
  const alone = prompts.map((text) => start(text))
  await whenIdle()
  const held = await runner.hold({ kind: 'regex', regex: '[ab]*' }, 'account')
  const long = { max_tokens: 150 } // it drafts at the latest when the others have ended
  const planted = start(drawText(), long, held)
  plant(planted.choices[0] as unknown as PlantedChoice)
  const beside = prompts.map((text) => start(text))
  await whenIdle()
  const only = start(drawText(), long, held) // with nobody beside it
  plant(only.choices[0] as unknown as PlantedChoice)
  await whenIdle()
  expect([...failed].map((run) => [planted, only].indexOf(run))).toEqual([0, 1])
  expect(faulty).toHaveLength(2)
  expect(beside.map((run) => texts.get(run))).toEqual(alone.map((run) => texts.get(run)))
  expect(runner.load).toMatchObject({ running: 0, waiting: 0, blocks_free: LIMITS.blocks })
})

describe('in the scheduler', () => {
  test.each([false, true])('nothing of it stays in the cache, one step ahead: %s', async (looks_ahead) => {
    for (let round = 0; round < draws('BROKEN', { few: 20, all: 400 }); round++) {
      const prompts = Array.from({ length: NEIGHBOURS }, () =>
        Array.from({ length: 1 + random.below(70) }, () => 10 + random.below(200)),
      )
      const own = [...(prompts[0] ?? []), 7, ...Array.from({ length: random.below(40) }, () => 9)]
      const ids = await outputs(prompts, looks_ahead)
      expect(await outputs([...prompts, own], looks_ahead)).toEqual([...ids, null])
    }
  })
})

/** The ids of each; null of one that is broken. */
async function outputs(prompts: number[][], looks_ahead: boolean): Promise<(number[] | null)[]> {
  const limits = { ...LIMITS, blocks: 40, speculation: looks_ahead ? ('off' as const) : ('prompt-lookup' as const) }
  const scheduler = new Scheduler(limits)
  const engine = new FakeEngine({ blocks: 40, vocab_size: 300, breaks_at: 7, period_tokens: 5 })
  const sequences = prompts.map((prompt) =>
    makeSequence({ prompt, output_tokens_max: 12, stop_ids: new Set(), undrawable_ids: [7] }),
  )
  for (const sequence of sequences) scheduler.submit(sequence)
  const broken = new Set<unknown>()
  let step = scheduler.schedule()
  while (step) {
    const result = engine.step(step.batch)
    const ahead = looks_ahead ? scheduler.schedule() : null
    for (const output of scheduler.apply(step, await result)) if ('is_broken' in output) broken.add(output.sequence)
    step = ahead ?? scheduler.schedule()
  }
  const probe = prompts.at(-1)!
  expect(scheduler.status).toMatchObject({ running: 0, waiting: 0, blocks_free: 40 })
  if (broken.size > 0) expect(foundOf(scheduler, probe)).toBeLessThanOrEqual(Math.floor(prompts[0]!.length / 16) * 16)
  return sequences.map((sequence) => (broken.has(sequence) ? null : sequence.tokens.slice(sequence.prompt_tokens)))
}

/** Tokens of a prompt that the cache has. */
function foundOf(scheduler: Scheduler, prompt: number[]): number {
  const sequence = makeSequence({ prompt, output_tokens_max: 1 })
  scheduler.submit(sequence)
  scheduler.schedule()
  return sequence.cached_tokens!
}
