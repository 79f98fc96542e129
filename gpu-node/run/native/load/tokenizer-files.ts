// The tokenizer of a folder, from all of its files that say something of it: pieces, added tokens, which of them have a name, and what a
// sequence begins with. Where two files say different things, nobody knows which the model was trained with: that is refused.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { parsed } from '../architecture/architecture.ts'
import { ModelError } from '../model-error.ts'
import {
  type AddedTokens,
  addedTokensOf,
  addedTokensOfConfig,
  addedTokensOfIds,
  withAdded,
} from '../tokenizer/added-tokens.ts'
import { parseTokenizerModel, type TokenizerModel } from '../tokenizer/sentencepiece-file.ts'
import { Tokenizer } from '../tokenizer/tokenizer.ts'
import { parseTokenizerJson } from '../tokenizer/tokenizer-json.ts'
import { readJson, readSmallFile } from './model-file.ts'

export interface FolderTokenizer {
  tokenizer: Tokenizer
  /** The tokens that have a name in the folder, such as bos_token. */
  named: ReadonlyMap<string, string>
  /** What was left out, for the log. */
  notes: string[]
}

// Published models pad the vocabulary to a multiple of at most this; a larger difference is another model's tokenizer.
const PADDING_MAX = 1023

/**
 * `vocab_size` is the network's: what is beyond it can never be drawn. Of a model that writes nothing a text may end with a token, which
 * its format then has.
 */
export function readTokenizer(folder: string, vocab_size: number, { may_end = false } = {}): FolderTokenizer {
  const config = configOf(folder)
  if (config.add_eos_token && !may_end) throw endsTexts()
  const base = baseOf(folder, config)
  const listed = [...base.listed, ...listedTokens(folder)]
  const named = namedTokens(config, specialMapOf(folder))
  const all = withNamed(withAdded(base.model, listed), named)
  checkVocabulary({ base: base.model, all }, vocab_size)
  const beyond = all.pieces.slice(vocab_size).filter(({ type }) => type !== 'unused')
  const is_byte_level = all.word_rule !== null
  const begin = beginOf(all, named, addsBegin(config, base.template) ?? !is_byte_level)
  const model = { ...all, pieces: all.pieces.slice(0, vocab_size) }
  const notes = beyond.map(
    ({ text }) => `the token ${JSON.stringify(text)} is beyond the network's ${vocab_size} rows: it is left out`,
  )
  return {
    tokenizer: new Tokenizer(model, begin, idOf(model, named.get('bos_token'))),
    named,
    notes,
  }
}

// ── tokenizer.model where there is one, else tokenizer.json

interface Base {
  model: TokenizerModel
  listed: AddedTokens[] // by a tokenizer.json, whether its model is used or not
  /** What a tokenizer.json puts around a text; null where there is none, or it says nothing. */
  template: Template | null
}

function baseOf(folder: string, config: TokenizerConfig): Base {
  const { add_prefix_space, legacy } = config
  const has = (name: string) => existsSync(join(folder, name))
  const json = has('tokenizer.json') ? readSmallFile(join(folder, 'tokenizer.json')).toString('utf8') : null
  if (has('tokenizer.model')) {
    const model = parseTokenizerModel(readSmallFile(join(folder, 'tokenizer.model')))
    const add_dummy_prefix = add_prefix_space ?? model.add_dummy_prefix
    const prefixes = legacy === false ? 'first_text' : 'each_text'
    return { model: { ...model, add_dummy_prefix, prefixes }, ...saidBy(json) }
  }
  if (json === null)
    throw new ModelError('model_file_missing', `${folder} has neither tokenizer.model nor tokenizer.json`)
  const model = parseTokenizerJson(json)
  if (add_prefix_space != null && add_prefix_space !== model.add_dummy_prefix)
    throw new ModelError(
      'tokenizer_invalid',
      `tokenizer_config.json: add_prefix_space is ${add_prefix_space}, tokenizer.json says otherwise`,
    )
  return { model: { ...model, prefixes: prefixesOf(model, config) }, ...saidBy(json) }
}

// transformers 5 writes which texts get a prefix, and goes by tokenizer_config.json alone when it reads its own file again.
function prefixesOf({ prefixes, is_metaspace }: TokenizerModel, config: TokenizerConfig): TokenizerModel['prefixes'] {
  const { backend, tokenizer_class, legacy } = config
  const is_own = is_metaspace && backend === 'tokenizers' && /^LlamaTokenizer(Fast)?$/.test(tokenizer_class ?? '')
  if (!is_own) return prefixes
  return legacy ? 'each_text' : 'first_text'
}

const saidSchema = z.looseObject({ added_tokens: z.unknown().optional() })

/** What a tokenizer.json says beside its model. */
function saidBy(json: string | null): Omit<Base, 'model'> {
  if (json === null) return { listed: [], template: null }
  const file = 'tokenizer.json'
  const { added_tokens } = parsed(saidSchema, parsedJson(json), 'tokenizer_invalid', file)
  return { listed: [{ file, tokens: addedTokensOf(added_tokens ?? []) }], template: templateOf(parsedJson(json)) }
}

function parsedJson(json: string): unknown {
  try {
    return JSON.parse(json) as unknown
  } catch {
    throw new ModelError('tokenizer_invalid', 'tokenizer.json: it is not JSON')
  }
}

function checkVocabulary({ base, all }: Record<'base' | 'all', TokenizerModel>, vocab_size: number): void {
  const used = all.pieces.filter(({ type }, id) => type !== 'unused' && id < vocab_size).length
  if (base.pieces.length <= vocab_size && vocab_size - used <= PADDING_MAX) return
  throw new ModelError(
    'tokenizer_vocabulary_mismatch',
    `the tokenizer has ${base.pieces.length} pieces, config.json a vocabulary of ${vocab_size}`,
  )
}

// ── the files beside it

const token = z.union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
const names = {
  bos_token: token.nullish(),
  eos_token: token.nullish(),
  unk_token: token.nullish(),
  sep_token: token.nullish(),
  pad_token: token.nullish(),
  cls_token: token.nullish(),
  mask_token: token.nullish(),
}
const more = z.union([z.array(token), z.record(z.string(), token).transform((named) => Object.values(named))]).nullish()
const mapSchema = z.looseObject({ ...names, additional_special_tokens: more, extra_special_tokens: more })
const configSchema = mapSchema.extend({
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
  legacy: z.boolean().nullish(),
  backend: z.string().nullish(),
  tokenizer_class: z.string().nullish(),
})

type SpecialMap = z.infer<typeof mapSchema>
type TokenizerConfig = z.infer<typeof configSchema>

function configOf(folder: string): TokenizerConfig {
  const file = 'tokenizer_config.json'
  const config = readJson(folder, file, 'tokenizer_invalid', { if_missing: {} })
  return parsed(configSchema, config, 'tokenizer_invalid', file)
}

function specialMapOf(folder: string): SpecialMap {
  const file = 'special_tokens_map.json'
  return parsed(mapSchema, readJson(folder, file, 'tokenizer_invalid', { if_missing: {} }), 'tokenizer_invalid', file)
}

function listedTokens(folder: string): AddedTokens[] {
  const read = (file: string) => readJson(folder, file, 'tokenizer_invalid', { if_missing: {} })
  return [
    { file: 'tokenizer_config.json', tokens: addedTokensOfConfig(read('tokenizer_config.json')) },
    { file: 'added_tokens.json', tokens: addedTokensOfIds(read('added_tokens.json')) },
  ]
}

/** By name, and those without one under their place. */
function namedTokens(config: TokenizerConfig, map: SpecialMap): Map<string, string> {
  const named = new Map<string, string>()
  for (const name of Object.keys(names) as (keyof typeof names)[]) {
    const [a, b] = [config[name], map[name]]
    if (a != null && b != null && a !== b)
      throw new ModelError(
        'tokenizer_invalid',
        `${name} is ${JSON.stringify(a)} in tokenizer_config.json and ${JSON.stringify(b)} in special_tokens_map.json`,
      )
    const text = a ?? b
    if (text || (name === 'bos_token' && text === '')) named.set(name, text)
  }
  const others = [config, map].flatMap(({ additional_special_tokens: a, extra_special_tokens: b }) => [
    ...(a ?? []),
    ...(b ?? []),
  ])
  for (const [i, text] of [...new Set(others)].entries()) if (text) named.set(`special_${i}`, text)
  return named
}

/** What has a name is special; what no list has yet comes behind all that is there, as transformers adds it. */
function withNamed(model: TokenizerModel, named: ReadonlyMap<string, string>): TokenizerModel {
  const pieces = [...model.pieces]
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  for (const [name, text] of named) {
    if (text === '') continue // refused where it is needed
    const id = ids.get(text) ?? pieces.length
    const known = pieces[id]
    ids.set(text, id)
    if (known && !['normal', 'added', 'user_defined'].includes(known.type)) continue
    if (known && name === 'pad_token') continue // what fills batches may be any piece
    pieces[id] = { text, score: known?.score ?? 0, type: 'control' }
  }
  return { ...model, pieces }
}

// ── what a sequence begins with

interface Template {
  begins: string | null
}

const special = z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) })
const templateSchema = z.looseObject({
  post_processor: z.looseObject({ type: z.string(), single: z.array(z.unknown()).optional() }).nullish(),
})

/** Null where a tokenizer.json has none of a kind that says it. Refuses one that puts something behind a text. */
function templateOf(json: unknown): Template | null {
  const { post_processor } = templateSchema.safeParse(json).data ?? {}
  if (post_processor?.type !== 'TemplateProcessing' || !post_processor.single) return null
  const steps = post_processor.single.map((step) => special.safeParse(step).data?.SpecialToken.id ?? null)
  const text_at = steps.indexOf(null)
  if (steps.length > 2 || (text_at >= 0 && text_at < steps.length - 1))
    throw new ModelError(
      'tokenizer_unsupported',
      'tokenizer.json: its post_processor puts more than one token before a text, or one behind it',
    )
  return { begins: steps[0] ?? null }
}

/** Null where nothing says it: then a SentencePiece model has a beginning, and a byte-level one has none. */
function addsBegin({ add_bos_token }: TokenizerConfig, template: Template | null): boolean | null {
  const of_template = template && template.begins !== null
  if (add_bos_token != null && of_template !== null && add_bos_token !== of_template)
    throw new ModelError(
      'tokenizer_invalid',
      `tokenizer_config.json: add_bos_token is ${add_bos_token}, the post_processor of tokenizer.json says otherwise`,
    )
  return add_bos_token ?? of_template
}

function endsTexts(): ModelError {
  return new ModelError(
    'tokenizer_unsupported',
    'tokenizer_config.json: add_eos_token is true, so a prompt would end before its answer; set it to false',
  )
}

const LLAMA_BEGIN = '<s>' // the default of LlamaTokenizer

function beginOf(model: TokenizerModel, named: ReadonlyMap<string, string>, is_added: boolean): number | null {
  if (!is_added) return null
  const text = named.get('bos_token') ?? LLAMA_BEGIN
  const id = idOf(model, text)
  if (id !== null) return id
  throw new ModelError('tokenizer_invalid', `bos_token is ${JSON.stringify(text)}, which is no piece`)
}

function idOf({ pieces }: TokenizerModel, text: string | undefined): number | null {
  const id = pieces.findIndex((piece) => piece.text === text)
  return id >= 0 ? id : null
}
