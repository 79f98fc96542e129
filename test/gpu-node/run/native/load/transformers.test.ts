// Small random networks of each architecture through the real path (folder → readers → addon → scheduler) against Hugging Face
// transformers in fp32. The ids and logits are those of test/vectors/make_*_vectors.py; the weights are remade here.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Engine, loadEngine } from '../../../../../gpu-node/run/native/engine.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../../../../../gpu-node/run/native/scheduler.ts'
import { modelFiles, type RandomFolder } from '../../../../support/random-weights.ts'
import { folderWith } from '../../../../support/safetensors.ts'
import { makeSequence, runToEnd } from '../../../../support/sequences.ts'

interface Configuration extends RandomFolder {
  margin: number
  cases: { prompt: number[]; ids: number[] }[]
  logits: { tokens: number[]; every: number; logits: string }[]
}

const LIMITS = { blocks: 256, batch_tokens_max: 128, sequences_max: 32, waiting_max: 100 }
const vectorsOf = (file: string) =>
  (
    JSON.parse(readFileSync(join(import.meta.dirname, '../../../../vectors', file), 'utf8')) as {
      configurations: Configuration[]
    }
  ).configurations

const llama = vectorsOf('llama.json')
const gpt_bigcode = vectorsOf('gpt-bigcode.json')

test.each([
  ['LLaMA', llama, 6],
  ['GPTBigCode', gpt_bigcode, 4],
])('the vectors of %s differ in what a config can say', (_, configurations, count_min) => {
  const distinct = (of: (configuration: Configuration) => unknown) => new Set(configurations.map(of)).size
  expect(configurations.length).toBeGreaterThanOrEqual(count_min)
  expect(distinct(({ format, dtype }) => format + dtype)).toBeGreaterThanOrEqual(count_min)
  expect(distinct(({ config }) => config.vocab_size)).toBe(configurations.length)
})

describe.each([...llama, ...gpt_bigcode])('$name ($format, $dtype)', (configuration) => {
  test('20 prompts are continued by the same 64 ids, from logits within 2 %', async () => {
    const { architecture, shape } = modelConfig(configuration.config, null)
    const model = readModelFolder(folderWith(modelFiles({ ...configuration, architecture, shape })))
    const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 2, ...LIMITS }, () => {})
    for (const { tokens, every, logits } of configuration.logits) {
      const own = (await logitsAfter(engine, tokens)).filter((_, id) => id % every === 0)
      const wanted = floatsOf(logits)
      expect(own).toHaveLength(wanted.length)
      expect(norm(wanted.map((value, i) => value - own[i]!)) / norm(wanted)).toBeLessThan(2e-2)
    }
    const { cases } = configuration
    const sequences = cases.map(({ prompt }) => makeSequence({ prompt, output_tokens_max: 64, stop_ids: new Set() }))
    expect(cases.length).toBeGreaterThanOrEqual(20)
    expect(await runToEnd(engine, new Scheduler(LIMITS), sequences)).toEqual(cases.map(({ ids }) => ids))
    await engine.close()
  })
})

async function logitsAfter(engine: Engine, tokens: number[]): Promise<Float32Array> {
  const scheduler = new Scheduler(LIMITS)
  scheduler.submit(makeSequence({ prompt: tokens, output_tokens_max: 1 }))
  return (await engine.step({ ...scheduler.schedule()!.batch, want_logits: true })).logits!
}

function floatsOf(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer)
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
}
