// What fp8 costs in quality: the perplexity of texts by the same model in fp16, with fp8 weights, with an fp8 KV cache, and with both. The texts
// are the embedded model's own answers to its held-out prompts, which it knows how to give, and what another model may know: HumanEval's prompts with
// their solutions, and Python and documents of this repository, in windows of the model's context.
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
const ANSWER_TOKENS_MAX = 200

/** As many tokens are given as stand before those that are scored. */
export interface Text {
  ids: number[]
  given: number
}

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

export async function perplexityOf(model: Model, formats: Formats, texts: Text[]): Promise<Perplexity> {
  const engine = await openEngine(model, formats)
  let nats = 0
  let tokens = 0
  for (const text of texts) {
    for (const logprob of await scores(engine, text)) nats -= logprob
    tokens += text.ids.length - text.given
  }
  await engine.close()
  return { tokens, perplexity: Math.exp(nats / tokens) }
}

/** What greedy decoding would take in the place of each token. */
async function likeliestTokens(model: Model, formats: Formats, texts: Text[]): Promise<number[]> {
  const engine = await openEngine(model, formats)
  const likeliest: number[] = []
  for (const text of texts) likeliest.push(...(await greedyTokens(engine, text)))
  await engine.close()
  return likeliest
}

/** What the model writes in fp16 to prompts. */
async function answersTo(prompts: string[], model: Model): Promise<Text[]> {
  const engine = await openEngine(model, {})
  const texts: Text[] = []
  for (const prompt of prompts) {
    const ids = idsOf(model, `<human>: \n${prompt}\n<bot>: \n`)
    const given = ids.length
    for (let has_ended = false; !has_ended && ids.length < given + ANSWER_TOKENS_MAX; ) {
      const [next] = await greedyTokens(engine, { ids: [...ids, 0], given: ids.length })
      ids.push(next!)
      has_ended = model.eos_ids.has(next!)
    }
    texts.push({ ids, given })
  }
  await engine.close()
  return texts
}

function openEngine(model: Model, formats: Formats): Promise<Engine> {
  const limits = { blocks: WINDOW_TOKENS / BLOCK_TOKENS, batch_tokens_max: WINDOW_TOKENS, sequences_max: 1 }
  return loadEngine(model.shape, model.tensors, { device: 'cpu', threads: 2, ...limits, ...formats }, () => {})
}

function idsOf({ tokenizer }: Model, text: string): number[] {
  return [...(tokenizer.begin_id === null ? [] : [tokenizer.begin_id]), ...tokenizer.encode(text)]
}

/** Each window begins as a prompt does. */
function windowsOf(model: Model, text: string): Text[] {
  const [first, ids] = [idsOf(model, ''), model.tokenizer.encode(text)]
  const windows = []
  for (let begin = 0; begin + 1 < ids.length; begin += WINDOW_TOKENS - 1)
    windows.push({ ids: [...first, ...ids.slice(begin, begin + WINDOW_TOKENS - 1)], given: 1 })
  return windows
}

/** The log-probability of each token that is not given, after those before it. */
async function scores(engine: Engine, { ids, given }: Text): Promise<Float32Array> {
  const rows = ids.slice(given).map((scored, i) => ({ ...scoredRow, token: given - 1 + i, scored }))
  return (await stepOf(engine, ids, rows)).logprobs
}

/** The likeliest token in the place of each that is not given. */
async function greedyTokens(engine: Engine, { ids, given }: Text): Promise<Int32Array> {
  const rows = ids.slice(given).map((_, i) => ({ ...scoredRow, token: given - 1 + i, scored: -1 }))
  return (await stepOf(engine, ids, rows)).tokens
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

function jsonLines(bytes: Buffer): Record<string, string>[] {
  return bytes
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** By what they are; of each kind `chosen` says which. */
export async function texts(model: Model, chosen: (all: string[]) => string[]): Promise<Record<string, Text[]>> {
  const humaneval = jsonLines(gunzipSync(readFileSync(join(root, 'test/data/humaneval/HumanEval.jsonl.gz'))))
  const prompts = jsonLines(readFileSync(join(root, 'models/ziya-coding-mini/held-out.jsonl')))
  const files = (folder: string, end: string) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(end))
      .sort()
      .map((name) => readFileSync(join(root, folder, name), 'utf8'))
  const windows = (all: string[]) => chosen(all).flatMap((text) => windowsOf(model, text))
  return {
    'answers to held-out prompts': await answersTo(chosen(prompts.map(({ prompt }) => prompt!)), model),
    'HumanEval, prompts and solutions': windows(humaneval.map((one) => one.prompt! + one.canonical_solution!)),
    'Python of this repository': windows(files('models', '.py')),
    'documents of this repository': windows(files('docs', '.md')),
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { model: { type: 'string' }, 'texts-max': { type: 'string' } } })
  const model = readModelFolder(values.model ?? join(root, 'models/ziya-coding-mini'))
  const most = Number(values['texts-max'] ?? Number.POSITIVE_INFINITY)
  for (const [what, some] of Object.entries(await texts(model, (all) => all.slice(0, most)))) {
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
