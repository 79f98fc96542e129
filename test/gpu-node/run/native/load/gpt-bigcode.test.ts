// A folder of GPTBigCode as it is published, with a byte-level tokenizer.json, through the whole door and the node's own runner: what its
// files say, what is refused, and what stands between two texts. What the network computes is held against transformers in transformers.test.ts.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { PromptPart } from '../../../../../contract/internal/generation.ts'
import { gptBigCode } from '../../../../../gpu-node/run/native/architecture/gpt-bigcode.ts'
import { loadEngine } from '../../../../../gpu-node/run/native/engine.ts'
import { infillParts } from '../../../../../gpu-node/run/native/infill.ts'
import { modelConfig } from '../../../../../gpu-node/run/native/load/model-config.ts'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { NativeRunner } from '../../../../../gpu-node/run/native/runner.ts'
import { encodePrompt } from '../../../../../gpu-node/run/native/tokenizer/encode-prompt.ts'
import { modelFiles } from '../../../../support/random-weights.ts'
import { folderWith, modelFolder } from '../../../../support/safetensors.ts'

const { variants } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../vectors/byte-level.json'), 'utf8'),
) as { variants: { tokenizer: { model: { vocab: Record<string, number> } } }[] }
const file = variants[0]!.tokenizer
const VOCAB_SIZE = 704 // with rows that no piece has

const config = {
  architectures: ['GPTBigCodeForCausalLM'],
  model_type: 'gpt_bigcode',
  vocab_size: VOCAB_SIZE,
  n_positions: 64,
  n_embd: 24,
  n_layer: 2,
  n_head: 4,
  n_inner: null,
  activation_function: 'gelu_pytorch_tanh',
  attention_softmax_in_fp32: true,
  layer_norm_epsilon: 1e-5,
  multi_query: true,
  scale_attn_weights: true,
  bos_token_id: 0,
  eos_token_id: 0,
  attn_pdrop: 0.1,
}

function bigCodeFolder(changes: Record<string, string> = {}): string {
  const { shape } = modelConfig(config, null)
  const { 'tokenizer.model': _, ...files } = modelFiles({
    ...{ name: 'bigcode', format: 'safetensors', dtype: 'F16', shards: 1, config },
    architecture: gptBigCode,
    shape,
  })
  const named = { bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', unk_token: '<|endoftext|>' }
  return folderWith({
    ...files,
    'tokenizer.json': JSON.stringify(file),
    'tokenizer_config.json': JSON.stringify({ ...named, add_prefix_space: false, tokenizer_class: 'GPT2Tokenizer' }),
    'special_tokens_map.json': JSON.stringify(named),
    ...changes,
  })
}

describe('a folder as StarCoder is published', () => {
  test('begins with nothing, but where there is nothing else, and ends with its own token', () => {
    const { tokenizer, eos_ids, shape } = readModelFolder(bigCodeFolder())
    expect(shape).toMatchObject({ kv_heads: 1, head_size: 6, intermediate_size: 96, tied_embeddings: true })
    expect([...eos_ids]).toEqual([0])
    const begun = (text: string) => encodePrompt([{ special: '<s>' }, { text }], tokenizer)
    expect(begun('a')).toEqual([file.model.vocab.a])
    expect(begun('')).toEqual([0])
    const added = bigCodeFolder({
      'tokenizer_config.json': JSON.stringify({ bos_token: '<|endoftext|>', add_bos_token: true }),
    })
    expect(encodePrompt([{ special: '<s>' }, { text: 'a' }], readModelFolder(added).tokenizer)).toEqual([
      0,
      file.model.vocab.a,
    ])
  })

  test('writes what stands between two texts, whatever those have of its marks', async () => {
    const model = readModelFolder(bigCodeFolder())
    const limits = { blocks: 16, batch_tokens_max: 64, sequences_max: 4, waiting_max: 8 }
    const engine = await loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 1, ...limits }, () => {})
    const runner = new NativeRunner({ model, engine, limits, lookahead: 'off' })
    await runner.open({ onStep: async () => {}, onFailed: () => {} })
    const prompt: PromptPart[] = [{ infill: { before: 'def f(<fim_suffix>', after: '\n' } }]
    const [parts] = await runner.format([prompt])
    expect(parts).toEqual([
      { special: '<fim_prefix>' },
      { text: 'def f(<fim_suffix>' },
      { special: '<fim_suffix>' },
      { text: '\n' },
      { special: '<fim_middle>' },
    ])
    const [ids] = runner.encode([parts!])
    expect(ids!.filter((id) => id < 19)).toEqual([1, 3, 2])
    expect(runner.decode(ids!).text).toBe('def f(<fim_suffix>\n')
    await runner.close()
  })
})

test('a model without the marks writes nothing before a suffix', () => {
  const { tokenizer } = readModelFolder(modelFolder())
  expect(() => infillParts({ infill: { before: 'a', after: 'b' } }, tokenizer)).toThrow(
    expect.objectContaining({ code: 'no_infill', param: 'suffix' }),
  )
})

test.each([
  ['SantaCoder', ['<fim-prefix>', '<fim-suffix>', '<fim-middle>']],
  ['DeepSeek Coder', ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>']],
])('%s spells the marks in its own way', (_, [prefix, suffix, middle]) => {
  const specialId = (text: string) => (text === prefix || text === suffix || text === middle ? 1 : null)
  expect(infillParts({ infill: { before: 'a', after: 'b' } }, { specialId })).toEqual([
    { special: prefix },
    { text: 'a' },
    { special: suffix },
    { text: 'b' },
    { special: middle },
  ])
})

test.each<[string, object, string]>([
  ['keys of every head', { multi_query: false }, 'multi_query is false'],
  ['another activation', { activation_function: 'quick_gelu' }, 'activation_function is "quick_gelu"'],
  ['scores that are not scaled', { scale_attn_weights: false }, 'scale_attn_weights is false'],
  ['cross attention', { add_cross_attention: true }, 'add_cross_attention is true'],
  ['heads of an odd size', { n_embd: 20, n_head: 4 }, '20 values of 4 heads'],
  ['heads that do not divide it', { n_embd: 25 }, '25 values of 4 heads'],
  ['no positions', { n_positions: undefined }, 'n_positions'],
  ['no epsilon', { layer_norm_epsilon: undefined }, 'layer_norm_epsilon'],
])('a config with %s is refused by name', (_, changes, named) => {
  expect(() => modelConfig({ ...config, ...changes }, null)).toThrow(
    expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining(named) as string }),
  )
})

test('a head of its own is a tensor more, and the causal mask is none', () => {
  const { shape } = modelConfig({ ...config, tie_word_embeddings: false }, null)
  expect(gptBigCode.tensorsOf(shape).map(({ name }) => name)).toContain('lm_head.weight')
  expect(gptBigCode.isHarmless('transformer.h.0.attn.bias', shape)).toBe(true)
  expect(gptBigCode.isHarmless('transformer.h.0.attn.c_attn.bias', shape)).toBe(false)
})
