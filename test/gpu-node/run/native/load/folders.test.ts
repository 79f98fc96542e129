// Folders that differ from one another in one thing each, through the whole door, against what transformers makes of them: the same
// ids of the same texts and the same ids behind them, or a refusal by name. The folders are those of test/vectors/make_folder_vectors.py.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadEngine } from '../../../../../gpu-node/run/native/engine.ts'
import { type Model, readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { undrawableIds } from '../../../../../gpu-node/run/native/prepare.ts'
import { Scheduler } from '../../../../../gpu-node/run/native/scheduler.ts'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { testData } from '../../../../support/data.ts'
import { draws } from '../../../../support/draws.ts'
import { seededRandom } from '../../../../support/random.ts'
import { tensorValues } from '../../../../support/random-weights.ts'
import { folderWith, safetensorsFile } from '../../../../support/safetensors.ts'
import { makeSequence, runToEnd } from '../../../../support/sequences.ts'
import { withoutBytes } from '../../../../support/tokenizer-model.ts'

interface Variant {
  name: string
  files: Record<string, unknown>
  rows: number
  extra?: [name: string, shape: number[]][]
  omit?: string[]
  head_is_embedding?: boolean
  options?: { rope_theta?: number }
  refused?: string
  expects?: { text: string; prompt: number[]; ids: number[] }[]
}

const { variants } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/folders.json'), 'utf8'),
) as { variants: Variant[] }
const random = seededRandom()
const all_served = variants.filter(({ expects }) => expects)
const served = drawnFrom(all_served, draws('FOLDERS', { few: 30, all: all_served.length }))
const refused = variants.filter((variant) => variant.refused)

const LIMITS = { blocks: 64, batch_tokens_max: 64, sequences_max: 8, waiting_max: 8 }
const OUTPUT_TOKENS_MAX = 24

test('there are folders of every kind, and each is served or refused', () => {
  expect(variants.length).toBeGreaterThanOrEqual(100)
  expect(all_served.length + refused.length).toBe(variants.length)
})

describe('as transformers serves it:', () => {
  test.each(served)('$name', async (variant) => {
    const model = readModelFolder(folderOf(variant), { told: variant.options ?? {} })
    const expected = variant.expects!
    const prompts = expected.map(({ text }) => encodePrompt([{ special: '<s>' }, { text }], model.tokenizer))
    expect(prompts).toEqual(expected.map(({ prompt }) => prompt))
    expect(await continued(model, prompts)).toEqual(expected.map(({ ids }) => ids))
  })
})

describe('refused by name:', () => {
  test.each(refused)('$name: $refused', (variant) => {
    expect(() => readModelFolder(folderOf(variant), { told: variant.options ?? {} })).toThrow(
      expect.objectContaining({ name: 'ModelError', code: variant.refused }),
    )
  })
})

function drawnFrom<T>(items: readonly T[], count: number): T[] {
  const left = [...items]
  return Array.from({ length: count }, () => left.splice(random.below(left.length), 1)[0]!)
}

async function continued(model: Model, prompts: number[][]): Promise<number[][]> {
  const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...LIMITS }, () => {})
  const own = { output_tokens_max: OUTPUT_TOKENS_MAX, stop_ids: model.eos_ids, undrawable_ids: undrawableIds(model) }
  const sequences = prompts.map((prompt) => makeSequence({ prompt, ...own }))
  const ids = await runToEnd(engine, new Scheduler(LIMITS), sequences)
  await engine.close()
  return ids
}

function folderOf(variant: Variant): string {
  const files = Object.entries(variant.files).map(([name, content]) => [name, contentOf(content)])
  return folderWith({ ...Object.fromEntries(files), 'model.safetensors': weightsOf(variant) })
}

function contentOf(content: unknown): string | Buffer {
  if (content === 'base') return readFileSync(testData('stories260K/tokenizer.model'))
  if (content === 'without bytes') return withoutBytes(readFileSync(testData('stories260K/tokenizer.model')))
  return typeof content === 'string' ? content : JSON.stringify(content)
}

interface Sizes {
  hidden_size: number
  num_attention_heads: number
  num_key_value_heads?: number | null
  head_dim?: number
  attention_bias?: boolean | string
  mlp_bias?: boolean
}

const BASE: Sizes = { hidden_size: 64, num_attention_heads: 4 }
const MLP = 96
const PIECES = 512 // of the base folder's tokenizer

function weightsOf({ files, rows, extra = [], omit = [], head_is_embedding = false }: Variant): Buffer {
  const config = { ...BASE, ...(files['config.json'] as Partial<Sizes>) }
  const shapes = { ...shapesOf(config, rows), ...Object.fromEntries(extra) }
  const kept = Object.entries(shapes).filter(([name]) => !omit.includes(name))
  const keyOf = (name: string) => (head_is_embedding && name === 'lm_head.weight' ? 'model.embed_tokens.weight' : name)
  return safetensorsFile(
    Object.fromEntries(
      kept.map(([name, shape]) => {
        const values = tensorValues(`folders:${keyOf(name)}`, shape)
        if (name === 'lm_head.weight') values.fill(0, PIECES * config.hidden_size) // so that no other row is the best
        return [name, { dtype: 'F32', shape, data: Buffer.from(values.buffer) }]
      }),
    ),
  )
}

function shapesOf(config: Sizes, rows: number): Record<string, number[]> {
  const { hidden_size: hidden, num_attention_heads: heads } = config
  const head = config.head_dim ?? Math.floor(hidden / heads)
  const kv_heads = config.num_key_value_heads ?? heads
  const norms = { input_layernorm: [hidden], post_attention_layernorm: [hidden] }
  const attention = {
    'self_attn.q_proj': [heads * head, hidden],
    'self_attn.k_proj': [kv_heads * head, hidden],
    'self_attn.v_proj': [kv_heads * head, hidden],
    'self_attn.o_proj': [hidden, heads * head],
  }
  const mlp = { 'mlp.gate_proj': [MLP, hidden], 'mlp.up_proj': [MLP, hidden], 'mlp.down_proj': [hidden, MLP] }
  const biased = { ...(config.attention_bias === true ? attention : {}), ...(config.mlp_bias === true ? mlp : {}) }
  const layer = (i: number): [string, number[]][] => [
    ...Object.entries({ ...norms, ...attention, ...mlp }).map(([name, shape]): [string, number[]] => [
      `model.layers.${i}.${name}.weight`,
      shape,
    ]),
    ...Object.entries(biased).map(([name, [outputs]]): [string, number[]] => [
      `model.layers.${i}.${name}.bias`,
      [outputs!],
    ]),
  ]
  return {
    'model.embed_tokens.weight': [rows, hidden],
    'model.norm.weight': [hidden],
    'lm_head.weight': [rows, hidden],
    ...Object.fromEntries([layer(0), layer(1)].flat()),
  }
}
