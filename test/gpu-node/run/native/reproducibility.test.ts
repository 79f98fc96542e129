// The same request gives the same bytes, whatever happens around it. Histories are drawn at random: alone or among up to 32
// neighbours that come and go, a cache that is cold or warm, few blocks and many preemptions, small and large steps, either
// priority, speculation on and off, steps enqueued before the one ahead was read or after.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest, Priority } from '../../../../contract/internal/generation.ts'
import { type Engine, loadEngine } from '../../../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../../../gpu-node/run/native/load/model-folder.ts'
import type { RowSampling, TokenLogprobs } from '../../../../gpu-node/run/native/sampling.ts'
import { Scheduler } from '../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import type { Tokenizer } from '../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { testData } from '../../../support/data.ts'
import { startFakeNode } from '../../../support/fake-node.ts'
import { framesOf, generate, generateRequest } from '../../../support/generate.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { drawnOf, greedy, makeSequence } from '../../../support/sequences.ts'

const REPEATED = 'Lily had a red ball. She liked to play with the ball. '
const BEGINNING = 'Once upon a time there was a function that sorted a list of names. '

describe('over HTTP, with the fake engine', () => {
  const drawRequest = (random: Random): Partial<GenerateRequest> => ({
    shape: random.pick(['completion', 'chat']),
    stream: random.chance(0.5),
    response_id: 'id-1',
    prompts: [[{ special: '<s>' }, { text: BEGINNING.slice(0, random.below(60)) + 'x '.repeat(random.below(40)) }]],
    n: random.pick([1, 1, 3]),
    max_tokens: 1 + random.below(60),
    logprobs: random.pick([null, 2]),
    return_token_ids: random.chance(0.3),
    stop: random.pick([[], ['a']]),
    sampling: { ...generateRequest().sampling, temperature: random.pick([0, 1]), seed: String(random.below(1e6)) },
  })

  // Its prompt is given back, and scored; some have that alone.
  const drawEchoed = (random: Random): Partial<GenerateRequest> => ({
    ...drawRequest(random),
    shape: 'completion',
    echo: true,
    logprobs: random.pick([0, 3]),
    ...(random.chance(0.4) && { max_tokens: 0 }),
  })

  // What was cached is told in usage, and only there.
  const answerTo = async (url: string, request: Partial<GenerateRequest>): Promise<string> => {
    const text = await (await generate(url, request)).text()
    const frames = request.stream ? framesOf(text) : [JSON.parse(text) as { choices: { index: number }[] }]
    if (request.stream) expect(frames.at(-1)).toBe('[DONE]')
    const choices = frames.flatMap((frame): { index: number }[] => (frame === '[DONE]' ? [] : frame.choices))
    return JSON.stringify(choices.toSorted((a, b) => a.index - b.index))
  }

  test('a request has the same answer in every history', async () => {
    const random = seededRandom()
    const requests = Array.from({ length: 14 }, (_, i) => (i < 10 ? drawRequest : drawEchoed)(random))
    const engine = { eos_one_in: 50, period_tokens: 7 }
    const alone: string[] = []
    const plain = { engine, config: { speculation: 'off' as const, lookahead: 'off' as const } }
    for (const request of requests) alone.push(await answerTo((await startFakeNode(plain)).url, request))
    for (let i = 0; i < 6; i++) {
      const config = {
        sequences_max: 1 + random.below(32),
        batch_tokens_max: 32 + random.below(64),
        speculation: random.pick(['off', 'prompt-lookup'] as const),
        lookahead: i % 2 === 0 ? ('on' as const) : ('off' as const),
      }
      const blocks = random.pick([12, 20, 256])
      const node = await startFakeNode({ config, engine: { ...engine, blocks }, context_tokens: 12 * 16 })
      if (random.chance(0.5)) await Promise.all(requests.map((request) => answerTo(node.url, request)))
      const neighbours = Array.from({ length: random.pick([0, 8, 32]) }, () => neighbour(node.url, random))
      const priority = () => random.pick(['interactive', 'batch'] as const)
      const answers = await Promise.all(
        requests.map((request) => answerTo(node.url, { ...request, priority: priority() })),
      )
      expect(answers, `history ${i}`).toEqual(alone)
      await Promise.all(neighbours)
    }
  })

  const neighbour = async (url: string, random: Random): Promise<void> => {
    const signal = random.chance(0.3) ? { signal: AbortSignal.timeout(1 + random.below(30)) } : {}
    const answer = generate(url, { ...drawRequest(random), n: 1 }, signal)
    await answer.then((response) => response.text()).catch(() => {}) // it left
  }
})

const sameInEveryHistory = async (tensor_parallel: number) => {
  const random = seededRandom()
  const model = readModelFolder(testData('stories260K'))
  const most = { blocks: 64, batch_tokens_max: 64, sequences_max: 40, waiting_max: 100 }
  const options = { device: 'cpu', threads: 1, tensor_parallel, ...most }
  const engine = await loadEngine(model.shape, model.tensors, options, () => {})
  // Whatever is drawn, drafts come true in the last.
  const drawn = [...Array.from({ length: 8 }, () => drawSequence(random)), repeating(model.tokenizer)]
  const alone: Drawn[] = []
  for (const make of drawn)
    alone.push(...(await play(engine, new Scheduler(most), { sequences: [make()], random })).drawn)
  let preemptions = 0
  let steps_ahead = 0
  let drafts_accepted = 0
  for (let i = 0; i < 6; i++) {
    const blocks = i % 2 === 0 ? 12 : 64
    const speculation = random.pick(['off', 'prompt-lookup', 'prompt-lookup'] as const)
    const scheduler = new Scheduler({ ...most, blocks, speculation, batch_tokens_max: 40 + random.below(25) })
    const sequences = () => drawn.map((make) => make(random.pick(['interactive', 'batch'])))
    if (random.chance(0.5)) await play(engine, scheduler, { sequences: sequences(), random })
    const neighbours = Array.from({ length: random.pick([0, 8, 32]) }, () => drawSequence(random)())
    const looks_ahead = i % 3 > 0
    const played = await play(engine, scheduler, { sequences: sequences(), neighbours, looks_ahead, random })
    expect(played.drawn, `history ${i}`).toEqual(alone)
    steps_ahead += played.steps_ahead
    preemptions += scheduler.status.preemptions
    drafts_accepted += scheduler.status.drafts_accepted
  }
  const speculating = new Scheduler({ ...most, speculation: 'prompt-lookup' })
  const speculated = await play(engine, speculating, { sequences: drawn.map((make) => make()), random })
  expect(speculated.drawn).toEqual(alone)
  expect(steps_ahead).toBeGreaterThan(0)
  expect(drafts_accepted + speculating.status.drafts_accepted).toBeGreaterThan(0)
  expect(preemptions).toBeGreaterThan(0)
  await engine.close()
}

test.each([1, 2])(
  'with the addon a sequence draws the same tokens, as likely, in every history, on %i devices',
  sameInEveryHistory,
)

describe('with drafts the addon draws the same tokens, as likely', () => {
  const on: Record<string, Partial<RowSampling> & { output_tokens_min?: number }> = {
    temperature: { temperature: 0.4 },
    top_p: { temperature: 1, top_p: 0.5 },
    top_k: { temperature: 1, top_k: 2 },
    min_p: { temperature: 1, min_p: 0.3 },
    repetition_penalty: { temperature: 0.4, repetition_penalty: 1.05 },
    frequency_penalty: { temperature: 0.4, frequency_penalty: 0.05 },
    presence_penalty: { temperature: 0.4, presence_penalty: 0.3 },
    logit_bias: { temperature: 0.4, bias: { ids: [261, 300, 7], values: [1, -2, -100] } },
    min_tokens: { temperature: 0.4, output_tokens_min: 40 },
    'no sampling': { temperature: 0 },
    'all of them': {
      ...{ temperature: 0.5, top_p: 0.8, top_k: 20, min_p: 0.02, repetition_penalty: 1.02, frequency_penalty: 0.02 },
      ...{ presence_penalty: 0.1, bias: { ids: [261], values: [0.5] }, output_tokens_min: 60 },
    },
  }
  const model = readModelFolder(testData('stories260K'))
  const limits = { blocks: 128, batch_tokens_max: 256, sequences_max: 40, waiting_max: 40 }
  const prompt = [1, ...model.tokenizer.encode(REPEATED.repeat(4))]
  let engine: Engine
  beforeAll(async () => {
    engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...limits }, () => {})
  })
  afterAll(() => engine.close())

  test('every parameter of a request is among them', () => {
    const named = Object.keys(generateRequest().sampling).filter((name) => name !== 'seed')
    expect(Object.keys(on)).toEqual(expect.arrayContaining([...named, 'logit_bias', 'min_tokens']))
  })

  async function drawnBy(speculation: 'off' | 'prompt-lookup', name: string, logprobs: number | null) {
    const { output_tokens_min = 0, ...parameters } = on[name]!
    const scheduler = new Scheduler({ ...limits, speculation })
    const sequences = Array.from({ length: 6 }, (_, i) => {
      const sampling = { ...greedy, ...parameters, seed: BigInt(i), logprobs }
      const stop_ids = new Set(output_tokens_min > 0 ? [2, 426] : []) // 426 is a full stop, which comes early
      return makeSequence({ prompt, output_tokens_max: 120, output_tokens_min, sampling, stop_ids })
    })
    const drawn = new Map(sequences.map((sequence) => [sequence, [] as unknown[]]))
    for (const sequence of sequences) scheduler.submit(sequence)
    const cost = { step_ms: 1, token_ms: 0 } // every draft pays
    for (let step = scheduler.schedule(cost); step; step = scheduler.schedule(cost)) {
      const outputs = drawnOf(scheduler.apply(step, await engine.step(step.batch)))
      for (const { sequence, token, finish, logprobs } of outputs) drawn.get(sequence)!.push([token, finish, logprobs])
    }
    return { drawn: [...drawn.values()], status: scheduler.status }
  }

  test.each(Object.keys(on))('%s', async (name) => {
    for (const logprobs of [null, 2]) {
      const off = await drawnBy('off', name, logprobs)
      const drafted = await drawnBy('prompt-lookup', name, logprobs)
      expect(drafted.drawn).toEqual(off.drawn)
      expect(drafted.status.drafts_accepted).toBeGreaterThan(0)
      expect(drafted.status.drafts_proposed).toBeGreaterThan(drafted.status.drafts_accepted)
    }
  })
})

// What a step may be believed to cost: unknown, nothing a token, much a token.
const COSTS = [null, { step_ms: 1, token_ms: 0 }, { step_ms: 10, token_ms: 1 }, { step_ms: 10, token_ms: 1 }]

interface Drawn {
  tokens: number[]
  logprobs: TokenLogprobs[]
}

function drawSequence(random: Random): (priority?: Priority) => Sequence {
  const beginning = Array.from({ length: random.pick([0, 20, 40]) }, (_, i) => 3 + i)
  const prompt = [1, ...beginning, ...Array.from({ length: random.below(50) }, () => 3 + random.below(500))]
  const bias = { ids: [5 + random.below(400)], values: [random.pick([0, 3])] }
  const sampling: RowSampling = {
    temperature: random.pick([0, 0.6, 1]),
    top_p: random.pick([1, 1, 0.85]),
    top_k: random.pick([0, 0, 5]),
    min_p: random.pick([0, 0, 0.1]),
    repetition_penalty: random.pick([1, 1.2]),
    frequency_penalty: random.pick([0, 0, 0.4]),
    presence_penalty: random.pick([0, 0.5]),
    seed: BigInt(random.below(1e9)),
    bias,
    logprobs: 3,
  }
  const output_tokens_max = 20 + random.below(60)
  const limits = { output_tokens_min: random.pick([0, 30]), stop_ids: new Set([2, 3 + random.below(500)]) }
  return (priority = 'interactive') => makeSequence({ prompt, output_tokens_max, sampling, priority, ...limits })
}

function repeating(tokenizer: Tokenizer): (priority?: Priority) => Sequence {
  const prompt = [1, ...tokenizer.encode(REPEATED.repeat(2))]
  const options = { prompt, output_tokens_max: 60, sampling: { ...greedy, logprobs: 3 } }
  return (priority = 'interactive') => makeSequence({ ...options, priority })
}

interface Play {
  sequences: Sequence[]
  neighbours?: Sequence[]
  looks_ahead?: boolean
  random: Random
}

/** Runs sequences to their end, submitted a few at a time among neighbours of which some are cancelled. */
async function play(
  engine: Engine,
  scheduler: Scheduler,
  { sequences, neighbours = [], looks_ahead = false, random }: Play,
): Promise<{ drawn: Drawn[]; steps_ahead: number }> {
  const drawn = new Map(sequences.map((sequence): [Sequence, Drawn] => [sequence, { tokens: [], logprobs: [] }]))
  const coming = [...sequences, ...neighbours]
  const begin = () => {
    const step = scheduler.schedule(random.pick(COSTS))
    return step && { ...step, result: engine.step(step.batch) }
  }
  let steps_ahead = 0
  let step: ReturnType<typeof begin> = null
  for (;;) {
    while (coming.length > 0 && random.chance(0.6)) {
      scheduler.submit(coming.splice(random.below(coming.length), 1)[0]!)
    }
    const left = neighbours.filter(({ state }) => state === 'running')
    if (left.length > 0 && random.chance(0.05)) scheduler.cancel(random.pick(left))
    step ??= begin()
    if (!step && coming.length === 0) return { drawn: [...drawn.values()], steps_ahead }
    if (!step) continue
    const ahead = looks_ahead ? begin() : null
    if (ahead) steps_ahead++
    for (const { sequence, token, logprobs } of drawnOf(scheduler.apply(step, await step.result))) {
      drawn.get(sequence)?.tokens.push(token)
      drawn.get(sequence)?.logprobs.push(logprobs!)
    }
    step = ahead && scheduler.isWanted(ahead) ? ahead : null
  }
}
