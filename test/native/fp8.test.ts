// What fp8 weights and an fp8 KV cache are worth in the embedded model, and what they may cost.

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Formats, in_fp8, perplexityOf, texts } from '../../bench/perplexity.ts'
import { loadEngine } from '../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { draws } from '../support/draws.ts'

const model = readModelFolder(join(import.meta.dirname, '../../models/ziya-coding-mini'))
const TEXTS = draws('FP8_TEXTS', { few: 24, all: 1000 }) // of each kind; node bench/perplexity.ts has all of them

test('the perplexity of texts is within 1 % of that in fp16, and that of what it writes within 0.1 %', async () => {
  const chosen = (all: string[]) => all.filter((text) => text.length < 6000).slice(0, TEXTS)
  for (const [what, some] of Object.entries(await texts(model, chosen))) {
    const fp16 = await perplexityOf(model, {}, some)
    console.log(`${what}: ${fp16.tokens} tokens, ${fp16.perplexity.toFixed(4)} in fp16`)
    for (const [name, formats] of Object.entries(in_fp8)) {
      const fp8 = await perplexityOf(model, formats, some)
      console.log(`${fp8.perplexity.toFixed(4)} with ${name} in fp8`)
      expect(fp8.perplexity).not.toBe(fp16.perplexity)
      expect(fp8.perplexity / fp16.perplexity).toBeLessThan(what.startsWith('answers') ? 1.001 : 1.01)
    }
  }
})

async function infoWith(formats: Formats, blocks = 1) {
  const options = { device: 'cpu', threads: 1, blocks, batch_tokens_max: 8, sequences_max: 4, ...formats }
  const engine = await loadEngine(model.shape, model.tensors, options, () => {})
  await engine.close()
  return engine.info
}

test('a number of the KV cache takes a byte, and a head of a token a scale of two', async () => {
  const { kv_bytes, arithmetic } = await infoWith({ kv_cache: 'fp8' })
  const fp16 = await infoWith({})
  const scales = 2 * model.shape.layers * model.shape.kv_heads * 16 * 2
  expect(kv_bytes - scales).toBe(fp16.kv_bytes / 2)
  expect(arithmetic).toBe(`${fp16.arithmetic}, fp8 KV cache`)
})

test("the layers' matrices take a byte a number and a scale a row", async () => {
  const bytes = async (weights: Formats['weights']) => (await infoWith({ ...(weights && { weights }) })).weight_bytes
  const matrices = model.tensors.filter(({ slot, shape }) => slot.startsWith('layer.') && shape.length === 2)
  const numbers = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const rows = matrices.reduce((sum, { shape }) => sum + shape[0]!, 0)
  expect((await bytes('fp16')) - (await bytes('fp8'))).toBe(numbers - 4 * rows)
  expect(await bytes(undefined)).toBe(await bytes('fp16'))
})
