// The same request gives the same bytes, whatever happens around it. Histories are drawn at random: alone or among up to 32
// neighbours that come and go, a cache that is cold or warm, few blocks and many preemptions, small and large steps.

import { describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/generation.ts'
import { type Engine, loadEngine } from '../../gpu-node/engine.ts'
import { readModelFolder } from '../../gpu-node/load/model-folder.ts'
import type { RowSampling, TokenLogprobs } from '../../gpu-node/sampling.ts'
import { Scheduler } from '../../gpu-node/scheduler.ts'
import type { Sequence } from '../../gpu-node/sequence.ts'
import { startFakeNode } from '../support/fake-node.ts'
import { framesOf, generate, generateRequest } from '../support/generate.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { greedy, makeSequence } from '../support/sequences.ts'
import { sharedData } from '../support/shared-data.ts'

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
    stop: random.pick([[], ['a']]),
    sampling: { ...generateRequest().sampling, temperature: random.pick([0, 1]), seed: String(random.below(1e6)) },
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
    const requests = Array.from({ length: 12 }, () => drawRequest(random))
    const engine = { eos_one_in: 50 }
    const alone: string[] = []
    for (const request of requests) alone.push(await answerTo((await startFakeNode({ engine })).url, request))
    for (let i = 0; i < 6; i++) {
      const config = { sequences_max: 1 + random.below(32), batch_tokens_max: 32 + random.below(64) }
      const blocks = random.pick([12, 20, 256])
      const node = await startFakeNode({ config, engine: { ...engine, blocks }, context_tokens: 12 * 16 })
      if (random.chance(0.5)) await Promise.all(requests.map((request) => answerTo(node.url, request)))
      const neighbours = Array.from({ length: random.below(33) }, () => neighbour(node.url, random))
      const answers = await Promise.all(requests.map((request) => answerTo(node.url, request)))
      expect(answers, `history ${i}`).toEqual(alone)
      await Promise.all(neighbours)
    }
  }, 120_000)

  const neighbour = async (url: string, random: Random): Promise<void> => {
    const signal = random.chance(0.3) ? { signal: AbortSignal.timeout(1 + random.below(30)) } : {}
    const answer = generate(url, { ...drawRequest(random), n: 1 }, signal)
    await answer.then((response) => response.text()).catch(() => {}) // it left
  }
})

test('with the addon a sequence draws the same tokens, as likely, in every history', async () => {
  const random = seededRandom()
  const model = readModelFolder(sharedData('stories260K'))
  const most = { blocks: 64, batch_tokens_max: 64, sequences_max: 40, waiting_max: 100 }
  const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...most }, () => {})
  const drawn = Array.from({ length: 8 }, () => drawSequence(random))
  const alone: Drawn[] = []
  for (const make of drawn) alone.push(...(await play(engine, new Scheduler(most), { sequences: [make()], random })))
  let preemptions = 0
  for (let i = 0; i < 5; i++) {
    const limits = { ...most, blocks: i % 2 === 0 ? 12 : 64, batch_tokens_max: 17 + random.below(48) }
    const scheduler = new Scheduler(limits)
    const sequences = () => drawn.map((make) => make())
    if (random.chance(0.5)) await play(engine, scheduler, { sequences: sequences(), random })
    const neighbours = Array.from({ length: random.below(33) }, () => drawSequence(random)())
    expect(await play(engine, scheduler, { sequences: sequences(), neighbours, random }), `history ${i}`).toEqual(alone)
    preemptions += scheduler.status.preemptions
  }
  expect(preemptions).toBeGreaterThan(0)
  await engine.close()
}, 120_000)

interface Drawn {
  tokens: number[]
  logprobs: TokenLogprobs[]
}

function drawSequence(random: Random): () => Sequence {
  const beginning = Array.from({ length: random.pick([0, 20, 40]) }, (_, i) => 3 + i)
  const prompt = [1, ...beginning, ...Array.from({ length: random.below(50) }, () => 3 + random.below(500))]
  const bias = { ids: [5 + random.below(400)], values: [random.pick([0, 3])] }
  const penalties = { repetition_penalty: random.pick([1, 1.2]), presence_penalty: random.pick([0, 0.5]) }
  const seed = BigInt(random.below(1e9))
  const sampling: RowSampling = { ...greedy, ...penalties, temperature: random.pick([0, 1]), bias, logprobs: 3, seed }
  const output_tokens_max = 20 + random.below(60)
  return () => makeSequence({ prompt, output_tokens_max, sampling })
}

/** Runs sequences to their end, submitted a few at a time among neighbours of which some are cancelled. */
async function play(
  engine: Engine,
  scheduler: Scheduler,
  { sequences, neighbours = [], random }: { sequences: Sequence[]; neighbours?: Sequence[]; random: Random },
): Promise<Drawn[]> {
  const drawn = new Map(sequences.map((sequence): [Sequence, Drawn] => [sequence, { tokens: [], logprobs: [] }]))
  const coming = [...sequences, ...neighbours]
  for (;;) {
    while (coming.length > 0 && random.chance(0.6)) {
      scheduler.submit(coming.splice(random.below(coming.length), 1)[0]!)
    }
    const left = neighbours.filter(({ state }) => state === 'running')
    if (left.length > 0 && random.chance(0.05)) scheduler.cancel(random.pick(left))
    const step = scheduler.schedule()
    if (!step && coming.length === 0) return [...drawn.values()]
    if (!step) continue
    for (const { sequence, token, logprobs } of scheduler.apply(step, await engine.step(step.batch))) {
      drawn.get(sequence)?.tokens.push(token)
      drawn.get(sequence)?.logprobs.push(logprobs!)
    }
  }
}
