// LoRA adapters over small random networks, through the real path (folders → readers → addon → scheduler), against Hugging Face
// transformers and PEFT in fp32: eight of them and the network itself in one batch. The ids are those of
// test/vectors/make_lora_vectors.py; the weights are remade here.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Engine, loadEngine, NO_ADAPTER } from '../../../../../gpu-node/run/native/engine.ts'
import { readAdapterFolder } from '../../../../../gpu-node/run/native/load/adapter-folder.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../../../../../gpu-node/run/native/scheduler.ts'
import type { Sequence } from '../../../../../gpu-node/run/native/sequence.ts'
import { adapterFolder, type RandomAdapter } from '../../../../support/adapter-folder.ts'
import { modelFiles, type RandomFolder } from '../../../../support/random-weights.ts'
import { folderWith } from '../../../../support/safetensors.ts'
import { makeSequence, runToEnd } from '../../../../support/sequences.ts'

interface Case {
  prompt: number[]
  ids: number[]
}
interface Configuration extends RandomFolder {
  cases: Case[]
  adapters: (RandomAdapter & { cases: Case[] })[]
}

const LIMITS = { blocks: 256, batch_tokens_max: 64, sequences_max: 32, waiting_max: 100 }
const { configurations } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/lora.json'), 'utf8'),
) as { configurations: Configuration[] }

interface Loaded {
  engine: Engine
  of: (place: number) => Case[]
}

async function load(configuration: Configuration): Promise<Loaded> {
  const { architecture, shape } = modelConfig(configuration.config, null)
  const model = readModelFolder(folderWith(modelFiles({ ...configuration, architecture, shape })))
  const adapters = configuration.adapters.map((each) =>
    readAdapterFolder(adapterFolder(configuration.name, each), model),
  )
  const engine = await loadEngine(
    model.shape,
    model.tensors,
    { device: 'cpu', threads: 2, ...LIMITS, adapters },
    () => {},
  )
  return { engine, of: (place) => (place === NO_ADAPTER ? configuration : configuration.adapters[place]!).cases }
}

const sequenceOf = ({ prompt }: Case, adapter: number, predicted?: number[]): Sequence =>
  makeSequence({ prompt, adapter, predicted, cache_salt: String(adapter), output_tokens_max: 64, stop_ids: new Set() })

describe.each(configurations)('$name', (configuration) => {
  test('eight adapters and the network itself are continued by the same 64 ids, in one batch and each alone', async () => {
    const { engine, of } = await load(configuration)
    const places = [NO_ADAPTER, ...configuration.adapters.keys()]
    expect(places).toHaveLength(9)
    expect(new Set(engine.info.adapter_digests).size).toBe(8)
    const asked = places.flatMap((place) => of(place).map((wanted) => ({ place, wanted })))
    const order = [...asked.filter((_, i) => i % 2 === 0), ...asked.filter((_, i) => i % 2 === 1)]
    const together = order.map(({ place, wanted }) => sequenceOf(wanted, place))
    expect(await runToEnd(engine, new Scheduler(LIMITS), together)).toEqual(order.map(({ wanted }) => wanted.ids))
    for (const place of places) {
      const [wanted] = of(place)
      expect(await runToEnd(engine, new Scheduler(LIMITS), [sequenceOf(wanted!, place)])).toEqual([wanted!.ids])
    }
    await engine.close()
  })

  test('they are the same where sequences give way to one another, and where drafts are made', async () => {
    const { engine, of } = await load(configuration)
    const asked = [NO_ADAPTER, ...configuration.adapters.keys()].map((place) => ({ place, wanted: of(place)[1]! }))
    const scheduler = new Scheduler({ ...LIMITS, blocks: 20, speculation: 'prompt-lookup' })
    const sequences = asked.map(({ place, wanted }) => sequenceOf(wanted, place, wanted.ids))
    for (const sequence of sequences) scheduler.submit(sequence)
    const free = { step_ms: 1, token_ms: 0 }
    for (let step = scheduler.schedule(free); step; step = scheduler.schedule(free))
      scheduler.apply(step, await engine.step(step.batch))
    expect(sequences.map(({ tokens, prompt_tokens }) => tokens.slice(prompt_tokens))).toEqual(
      asked.map(({ wanted }) => wanted.ids),
    )
    expect(scheduler.status.preemptions).toBeGreaterThan(0)
    expect(scheduler.status.drafts_accepted).toBeGreaterThan(0)
    await engine.close()
  })

  test('a logit has the same bits alone, and among sequences of any adapter', async () => {
    const { engine, of } = await load(configuration)
    const places = [3, NO_ADAPTER, 0, 7, 3, 1, NO_ADAPTER, 5]
    const batchOf = (chosen: number[]) => {
      const scheduler = new Scheduler(LIMITS)
      for (const place of chosen) scheduler.submit(sequenceOf(of(3)[0]!, place))
      return { ...scheduler.schedule()!.batch, want_logits: true }
    }
    const rowsOf = async (chosen: number[]) => {
      const { logits } = await engine.step(batchOf(chosen))
      const size = logits!.length / chosen.length
      const in_order = [...chosen].sort((a, b) => a - b)
      return new Map(
        in_order.map((place, i) => [
          place,
          Buffer.from(logits!.slice(i * size, (i + 1) * size).buffer).toString('hex'),
        ]),
      )
    }
    const together = await rowsOf(places)
    expect(new Set(together.values()).size).toBe(new Set(places).size)
    for (const place of new Set(places)) expect((await rowsOf([place])).get(place)).toBe(together.get(place))
    await engine.close()
  })
})
