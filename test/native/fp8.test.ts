// What fp8 weights are worth in the embedded model, and what they may cost.

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { perplexityOf, texts } from '../../bench/perplexity.ts'
import { type EngineOptions, loadEngine } from '../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { draws } from '../support/draws.ts'

const model = readModelFolder(join(import.meta.dirname, '../../models/ziya-coding-mini'))
const TEXTS = draws('FP8_TEXTS', { few: 12, all: 1000 }) // of each kind; node bench/perplexity.ts has all of them

test('the perplexity of real texts is within 1 % of that with fp16 weights', async () => {
  for (const [what, all] of Object.entries(texts())) {
    const some = all.filter((text) => text.length < 3000).slice(0, TEXTS)
    const fp16 = await perplexityOf(model, 'fp16', some)
    const fp8 = await perplexityOf(model, 'fp8', some)
    console.log(`${what}: ${fp16.tokens} tokens, ${fp16.perplexity.toFixed(4)} and ${fp8.perplexity.toFixed(4)}`)
    expect(fp8.perplexity).not.toBe(fp16.perplexity)
    expect(fp8.perplexity / fp16.perplexity).toBeLessThan(1.01)
  }
})

test("the layers' matrices take a byte a number and a scale a row", async () => {
  const bytes = async (weights: EngineOptions['weights']) => {
    const limits = { blocks: 1, batch_tokens_max: 8, sequences_max: 1 }
    const options = { device: 'cpu', threads: 1, ...limits, ...(weights && { weights }) }
    const engine = await loadEngine(model.shape, model.tensors, options, () => {})
    await engine.close()
    return engine.info.weight_bytes
  }
  const matrices = model.tensors.filter(({ slot, shape }) => slot.startsWith('layer.') && shape.length === 2)
  const numbers = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const rows = matrices.reduce((sum, { shape }) => sum + shape[0]!, 0)
  expect((await bytes('fp16')) - (await bytes('fp8'))).toBe(numbers - 4 * rows)
  expect(await bytes(undefined)).toBe(await bytes('fp16'))
})
