// What fp8 costs in quality: the perplexity of real texts by the same model in fp16, with fp8 weights, with an fp8 KV cache, and with both. The texts
// are HumanEval's prompts with their solutions, and Python and documents of this repository, in windows of the model's context.
// usage: node bench/perplexity.ts [--model DIR] [--texts-max N: of each kind]

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { type Engine, type EngineOptions, loadEngine, type StepResult } from '../gpu-node/run/native/engine.ts'
import { type Model, readModelFolder } from '../gpu-node/run/native/load/model-folder.ts'
import { RowTable } from '../gpu-node/run/native/row-table.ts'

const root = join(import.meta.dirname, '..')
const WINDOW_TOKENS = 512
const BLOCK_TOKENS = 16

export interface Perplexity {
  tokens: number // that were scored
  perplexity: number
}

const nothing = { begin: 0, count: 0 }
const scoredRow = {
  ...{ seed: 0n, counter: 0, temperature: 0, top_p: 1, min_p: 0, repetition_penalty: 1, frequency_penalty: 0 },
  ...{ presence_penalty: 0, top_k: 0, logprobs: -1, output_tokens: 0 },
  ...{ history: nothing, bias: nothing, banned: nothing, mask: nothing },
}

export type Formats = Pick<EngineOptions, 'weights' | 'kv_cache'>

/** Of texts, each in windows that begin as a prompt does. */
export async function perplexityOf(model: Model, formats: Formats, texts: string[]): Promise<Perplexity> {
  const engine = await openEngine(model, formats)
  let nats = 0
  let tokens = 0
  for (const window of texts.flatMap((text) => windowsOf(model, text))) {
    for (const logprob of await scores(engine, window)) nats -= logprob
    tokens += window.length - 1
  }
  await engine.close()
  return { tokens, perplexity: Math.exp(nats / tokens) }
}

/** What greedy decoding would take in the place of each token. */
async function likeliestTokens(model: Model, formats: Formats, texts: string[]): Promise<number[]> {
  const engine = await openEngine(model, formats)
  const likeliest: number[] = []
  for (const window of texts.flatMap((text) => windowsOf(model, text)))
    likeliest.push(...(await greedyTokens(engine, window)))
  await engine.close()
  return likeliest
}

function openEngine(model: Model, formats: Formats): Promise<Engine> {
  const limits = { blocks: WINDOW_TOKENS / BLOCK_TOKENS, batch_tokens_max: WINDOW_TOKENS, sequences_max: 1 }
  return loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 2, ...limits, ...formats }, () => {})
}

function windowsOf({ tokenizer }: Model, text: string): number[][] {
  const ids = tokenizer.encode(text)
  const first = tokenizer.begin_id === null ? [] : [tokenizer.begin_id]
  const windows = []
  for (let begin = 0; begin + 1 < ids.length; begin += WINDOW_TOKENS - 1)
    windows.push([...first, ...ids.slice(begin, begin + WINDOW_TOKENS - 1)])
  return windows
}

/** The log-probability of each token but the first, after those before it. */
async function scores(engine: Engine, window: number[]): Promise<Float32Array> {
  const rows = window.slice(1).map((scored, i) => ({ ...scoredRow, token: i, scored }))
  return (await stepOf(engine, window, rows)).logprobs
}

/** The likeliest token after each but the last. */
async function greedyTokens(engine: Engine, window: number[]): Promise<Int32Array> {
  const rows = window.slice(1).map((_, i) => ({ ...scoredRow, token: i, scored: -1 }))
  return (await stepOf(engine, window, rows)).tokens
}

function stepOf(engine: Engine, window: number[], rows: Parameters<RowTable['set']>[1][]): Promise<StepResult> {
  const table = new RowTable(rows.length)
  for (const [i, row] of rows.entries()) table.set(i, row)
  const blocks = Math.ceil(window.length / BLOCK_TOKENS)
  return engine.step({
    tokens: Int32Array.from(window),
    token_counts: Int32Array.of(window.length),
    starts: Int32Array.of(0),
    block_counts: Int32Array.of(blocks),
    block_tables: Int32Array.from({ length: blocks }, (_, i) => i),
    adapters: new Int32Array(),
    rows: table.bytes,
    history: new Int32Array(),
    bias_ids: new Int32Array(),
    bias_values: new Float32Array(),
    banned_ids: new Int32Array(),
    mask_words: new Int32Array(),
    want_logits: false,
  })
}

/** What may be fp8. */
export const in_fp8: Record<string, Formats> = {
  weights: { weights: 'fp8' },
  'the KV cache': { kv_cache: 'fp8' },
  both: { weights: 'fp8', kv_cache: 'fp8' },
}

/** Texts by what they are. */
export function texts(): Record<string, string[]> {
  const lines = (bytes: Buffer) =>
    bytes
      .toString('utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  const humaneval = lines(gunzipSync(readFileSync(join(root, 'test/data/humaneval/HumanEval.jsonl.gz'))))
  const files = (folder: string, end: string) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(end))
      .sort()
      .map((name) => readFileSync(join(root, folder, name), 'utf8'))
  return {
    'HumanEval, prompts and solutions': humaneval.map(({ prompt, canonical_solution }) => prompt + canonical_solution),
    'Python of this repository': files('models', '.py'),
    'documents of this repository': files('docs', '.md'),
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { model: { type: 'string' }, 'texts-max': { type: 'string' } } })
  const model = readModelFolder(values.model ?? join(root, 'models/ziya-coding-mini'))
  for (const [what, all] of Object.entries(texts())) {
    const some = all.slice(0, Number(values['texts-max'] ?? all.length))
    const fp16 = await perplexityOf(model, {}, some)
    const likeliest = await likeliestTokens(model, {}, some)
    console.log(`${what}: ${fp16.tokens} tokens, perplexity ${fp16.perplexity.toFixed(4)} in fp16`)
    for (const [name, formats] of Object.entries(in_fp8)) {
      const fp8 = await perplexityOf(model, formats, some)
      const more = (100 * (fp8.perplexity / fp16.perplexity - 1)).toFixed(2)
      const taken = await likeliestTokens(model, formats, some)
      const same = ((100 * taken.filter((token, i) => token === likeliest[i]).length) / taken.length).toFixed(2)
      console.log(
        `  ${fp8.perplexity.toFixed(4)} with ${name} in fp8, ${more} % more; ${same} % of the likeliest tokens are the same`,
      )
    }
  }
}
