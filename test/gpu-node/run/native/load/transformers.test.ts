// Small random Llamas through the real path (folder → readers → addon → scheduler) against Hugging Face transformers in
// fp32. The ids and logits are those of test/vectors/make_llama_vectors.py; the weights are remade here.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Engine, loadEngine } from '../../../../../gpu-node/run/native/engine.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../../../../../gpu-node/run/native/scheduler.ts'
import { type LlamaFolder, llamaFiles } from '../../../../support/llama-weights.ts'
import { folderWith } from '../../../../support/safetensors.ts'
import { makeSequence, runToEnd } from '../../../../support/sequences.ts'

interface Configuration extends LlamaFolder {
  margin: number
  cases: { prompt: number[]; ids: number[] }[]
  logits: { tokens: number[]; every: number; logits: string }[]
}

const LIMITS = { blocks: 256, batch_tokens_max: 128, sequences_max: 32, waiting_max: 100 }
const vectors = JSON.parse(readFileSync(join(import.meta.dirname, '../../../../vectors/llama.json'), 'utf8')) as {
  configurations: Configuration[]
}

test('the vectors differ in what a config can say', () => {
  const distinct = (of: (configuration: Configuration) => unknown) => new Set(vectors.configurations.map(of)).size
  expect(vectors.configurations.length).toBeGreaterThanOrEqual(6)
  expect(distinct(({ format, dtype }) => format + dtype)).toBe(6)
  expect(distinct(({ config }) => config.vocab_size)).toBe(vectors.configurations.length)
})

describe.each(vectors.configurations)('$name ($format, $dtype)', (configuration) => {
  test('20 prompts are continued by the same 64 ids, from logits within 2 %', async () => {
    const { shape } = modelConfig(configuration.config, null)
    const model = readModelFolder(folderWith(llamaFiles({ ...configuration, shape })))
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
