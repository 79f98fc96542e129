// Reads a `tokenizer.json` of Hugging Face's tokenizers, of two families: Llama's, BPE over whole texts whose spaces are U+2581,
// with bytes for what no piece spells; and GPT-2's, BPE over the bytes of words. A pair of pieces merges by its place in the file's own
// list. The format has many other normalizers, splitters and models, which give other ids: each is refused by name.

import * as z from 'zod'
import { repeatedKey } from '../json-keys.ts'
import { ModelError } from '../model-error.ts'
import { type AddedToken, addedTokensOf, withAdded } from './added-tokens.ts'
import { letterOf, type Splitter, type WordRule } from './byte-level.ts'
import type { MergeTable } from './merge.ts'
import {
  bytePiece,
  isMerged,
  PIECES_MAX,
  type Piece,
  type PieceType,
  type TokenizerModel,
} from './sentencepiece-file.ts'

const SPACE = '\u2581'
const MERGES_MAX = 1 << 22

// Parts that shape ids are read strictly, and what says nothing about them is left alone (truncation, padding, and the
// post_processor, whose special tokens the prompt's format brings).
const fileSchema = z.looseObject({
  added_tokens: z.unknown().optional(),
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  decoder: z.unknown().optional(),
  model: z.record(z.string(), z.unknown()),
})

/** The model in the text of a `tokenizer.json`; throws `ModelError` where it is broken or of another kind. */
export function parseTokenizerJson(json: string): TokenizerModel {
  const file = fileSchema.safeParse(parsed(json))
  if (!file.success) throw invalid('it has no model')
  const { model, normalizer, pre_tokenizer, decoder } = file.data
  refuseOtherModels(model)
  const added = addedTokensOf(file.data.added_tokens ?? [])
  const word_rule = wordRuleOf(pre_tokenizer)
  if (word_rule) return byteLevelModel(file.data, word_rule, added)
  if (model.ignore_merges) throw unsupported(`ignore_merges ${brief(model.ignore_merges)} without words`)
  const prefix = prefixOf(normalizer, pre_tokenizer)
  if (!isMetaspace(decoder, prefix)) refuseOtherDecoder(decoder, prefix.add_dummy_prefix)
  const vocabulary = vocabularyOf(model.vocab, added)
  const pieces = vocabulary.map((text): Piece => ({ text, score: 0, type: typeOf(text, model.unk_token) }))
  if (model.unk_token != null && !vocabulary.includes(model.unk_token as string))
    throw invalid(`unk_token ${brief(model.unk_token)} is no piece`)
  const spelling = { unspelled: unspelledOf(model, pieces), unknown_surface: '', remove_extra_whitespaces: false }
  if (spelling.unspelled === 'bytes' && isMetaspace(decoder, prefix))
    throw unsupported('a decoder without ByteFallback')
  const own = { pieces, ...spelling, ...prefix, word_rule: null, takes_whole_words: false, merges: null }
  const whole = withAdded(own, [{ file: 'tokenizer.json', tokens: added }])
  if (spelling.unspelled === 'dropped' && whole.pieces.some(({ type }) => type === 'user_defined'))
    throw unsupported('a normalized added token beside a model that drops what it cannot spell')
  return { ...whole, merges: mergesOf(model.merges, whole.pieces) }
}

// ── GPT-2's family

/** How words are split, where a byte-level splitter is the last; null where there is none. */
function wordRuleOf(pre_tokenizer: unknown): WordRule | null {
  const steps = stepsOf(pre_tokenizer, 'pretokenizers').map((step) => Object(step) as Record<string, unknown>)
  const last = steps.pop()
  if (last?.type !== 'ByteLevel') return null
  const [first, ...others] = [...steps.map(splitterOf), ...(last.use_regex !== false ? ['gpt2' as const] : [])]
  if (!first || others.includes(null) || last.add_prefix_space !== false)
    throw unsupported(`the pre_tokenizer ${brief(pre_tokenizer)}`)
  return [first, ...others.filter((splitter) => splitter !== null)]
}

// Of Llama 3 and of DeepSeek Coder. Another expression is another splitter, however much it looks like one of these.
const EXPRESSIONS: ReadonlyMap<string, Splitter> = new Map([
  [
    String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    'llama3',
  ],
  ['[\r\n]', 'line_ends'],
  [String.raw`\s?\p{L}+`, 'letters'],
  [String.raw`\s?\p{P}+`, 'punctuation'],
  ['[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+', 'east_asian'],
])

/** Null where it is none that is known. */
function splitterOf({ type, individual_digits, pattern, behavior, invert }: Record<string, unknown>): Splitter | null {
  if (type === 'Digits') return individual_digits === true ? 'numerals_each_alone' : 'numerals_in_runs'
  if (type !== 'Split' || behavior !== 'Isolated' || (invert ?? false) !== false) return null
  const { Regex } = Object(pattern) as { Regex?: unknown }
  return typeof Regex === 'string' ? (EXPRESSIONS.get(Regex) ?? null) : null
}

function byteLevelModel(file: z.infer<typeof fileSchema>, word_rule: WordRule, added: AddedToken[]): TokenizerModel {
  const { model, normalizer, decoder } = file
  if (normalizer != null && stepsOf(normalizer, 'normalizers').length > 0)
    throw unsupported(`the normalizer ${brief(normalizer)} beside a ByteLevel`)
  if ((Object(decoder) as { type?: unknown }).type !== 'ByteLevel')
    throw unsupported(`the decoder ${brief(decoder)} beside a ByteLevel`)
  const pieces = vocabularyOf(model.vocab, added).map((text): Piece => ({ text, score: 0, type: 'normal' }))
  const unspelled = unspelledBytesOf(model, new Set(pieces.map(({ text }) => text)))
  const own = { pieces, ...PLAIN, unspelled, word_rule, takes_whole_words: model.ignore_merges === true, merges: null }
  const whole = withAdded(own, [{ file: 'tokenizer.json', tokens: added }])
  return { ...whole, merges: mergesOf(model.merges, whole.pieces) }
}

/**
 * What becomes of bytes without a piece. StarCoder has none for those that no UTF-8 has, nor for 0xf1, which begins planes of Unicode
 * that nobody uses: it is dropped. Of every character something must be left, so that a text of a length has some tokens.
 */
function unspelledBytesOf(model: Record<string, unknown>, texts: ReadonlySet<string>): 'bytes' | 'dropped' {
  const lacking = Array.from({ length: 256 }, (_, byte) => byte).filter(
    (byte) => isInText(byte) && !texts.has(letterOf(byte)),
  )
  const [first] = lacking
  if (first === undefined) return 'bytes'
  const needed = lacking.find((byte) => byte < UTF8_LEADS) ?? (model.unk_token == null ? undefined : first)
  if (needed === undefined) return 'dropped'
  throw invalid(`it lacks ${JSON.stringify(letterOf(needed))}, the piece of byte ${needed}`)
}

const UTF8_LEADS = 0xc0 // and above: bytes that begin a character of several

/** Whether any UTF-8 has this byte. */
function isInText(byte: number): boolean {
  return byte < UTF8_LEADS || (byte >= 0xc2 && byte <= 0xf4)
}

/** Nothing is put before a text. */
const PLAIN = {
  unknown_surface: '',
  add_dummy_prefix: false,
  prefixes: 'each_text',
  is_metaspace: false,
  remove_extra_whitespaces: false,
} as const

function parsed(json: string): unknown {
  try {
    const value = JSON.parse(json) as unknown
    const key = repeatedKey(json)
    if (key !== null) throw invalid(`it has ${JSON.stringify(key)} twice`)
    return value
  } catch (error) {
    if (error instanceof ModelError) throw error
    throw invalid('it is not JSON')
  }
}

function refuseOtherModels(model: Record<string, unknown>): void {
  if (model.type !== 'BPE') throw unsupported(`a model of type ${brief(model.type)}`)
  for (const field of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[field]) throw unsupported(`${field} ${brief(model[field])}`)
}

/** What becomes of text that no piece spells. Where only some bytes have pieces, what needs another byte would be unknown. */
function unspelledOf(model: Record<string, unknown>, pieces: readonly Piece[]): TokenizerModel['unspelled'] {
  const has_bytes = pieces.some(({ type }) => type === 'byte')
  if (model.byte_fallback === true && has_bytes) {
    refuseMissingBytes(pieces)
    return 'bytes'
  }
  if (has_bytes) throw unsupported('pieces of bytes without byte_fallback')
  if (model.unk_token == null) return 'dropped'
  return model.fuse_unk === true ? 'unknown_run' : 'unknown_characters'
}

type Prefix = Pick<TokenizerModel, 'add_dummy_prefix' | 'prefixes' | 'is_metaspace'>

/** Who spells spaces as U+2581, and puts one before a text: a normalizer, or the splitter that transformers 5 writes. */
function prefixOf(normalizer: unknown, pre_tokenizer: unknown): Prefix {
  if (pre_tokenizer == null)
    return { add_dummy_prefix: prependsSpace(normalizer), prefixes: 'each_text', is_metaspace: false }
  const { type, replacement, prepend_scheme: scheme, split } = Object(pre_tokenizer) as Record<string, unknown>
  const is_whole = type === 'Metaspace' && replacement === SPACE && split === false
  if (!is_whole || typeof scheme !== 'string' || !['always', 'first', 'never'].includes(scheme))
    throw unsupported(`the pre_tokenizer ${brief(pre_tokenizer)}`)
  if (normalizer != null) throw unsupported(`the normalizer ${brief(normalizer)} beside a Metaspace`)
  const prefixes = scheme === 'first' ? 'first_text' : 'each_text'
  return { add_dummy_prefix: scheme !== 'never', prefixes, is_metaspace: true }
}

/** Whether the normalizer puts a space before the text. Its other half, spaces to U+2581, must be there. */
function prependsSpace(normalizer: unknown): boolean {
  const steps = stepsOf(normalizer, 'normalizers')
  const [first, second] = steps.length === 1 ? [null, steps[0]] : steps
  const prepends = isStep(first, { type: 'Prepend', prepend: SPACE })
  const replaces = isStep(second, { type: 'Replace', pattern: { String: ' ' }, content: SPACE })
  if (!replaces || steps.length > 2 || (first && !prepends)) throw unsupported(`the normalizer ${brief(normalizer)}`)
  return prepends
}

/** It does the same as the steps below, but for bytes. */
function isMetaspace(decoder: unknown, { add_dummy_prefix }: Prefix): boolean {
  const { type, replacement, prepend_scheme } = Object(decoder) as Record<string, unknown>
  return type === 'Metaspace' && replacement === SPACE && (prepend_scheme !== 'never') === add_dummy_prefix
}

function refuseOtherDecoder(decoder: unknown, strips: boolean): void {
  const wanted = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(strips ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ]
  const steps = stepsOf(decoder, 'decoders')
  if (steps.length !== wanted.length || !steps.every((step, i) => isStep(step, wanted[i]!)))
    throw unsupported(`the decoder ${brief(decoder)} beside this normalizer`)
}

function stepsOf(sequence: unknown, field: 'normalizers' | 'decoders' | 'pretokenizers'): unknown[] {
  const { type, [field]: steps } = Object(sequence) as Record<string, unknown>
  return type === 'Sequence' && Array.isArray(steps) ? steps : [sequence]
}

function isStep(step: unknown, wanted: object): boolean {
  const sorted = (value: object) => JSON.stringify(Object.entries(value).sort())
  return typeof step === 'object' && step !== null && sorted(step) === sorted(wanted)
}

/** The texts in the order of their ids, where `added` may fill what the vocabulary leaves open. */
function vocabularyOf(vocab: unknown, added: readonly AddedToken[]): string[] {
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) throw invalid('the model has no vocab')
  const entries = Object.entries(vocab as Record<string, unknown>)
  if (entries.length > PIECES_MAX) throw invalid(`it has more than ${PIECES_MAX} pieces`)
  const texts: string[] = []
  const place = (text: string, id: unknown) => {
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0)
      throw invalid(`${JSON.stringify(text)} has the id ${brief(id)}`)
    if (id >= entries.length + added.length) throw invalid(`${JSON.stringify(text)} has the id ${id}, out of range`)
    if (texts[id] !== undefined)
      throw invalid(`${JSON.stringify(text)} and ${JSON.stringify(texts[id])} have the id ${id}`)
    texts[id] = text
  }
  for (const [text, id] of entries) {
    if (text === '') throw invalid('it has a piece without text')
    place(text, id)
  }
  const known = new Set(texts)
  for (const { content, id } of added) if (!known.has(content) && id < texts.length) place(content, id)
  for (let id = 0; id < texts.length; id++) if (texts[id] === undefined) throw invalid(`no piece has the id ${id}`)
  return texts
}

const BYTE = /^<0x[0-9A-F]{2}>$/

function typeOf(text: string, unknown: unknown): PieceType {
  if (text === unknown) return 'unknown'
  return BYTE.test(text) ? 'byte' : 'normal'
}

function refuseMissingBytes(pieces: readonly Piece[]): void {
  const bytes = new Set(pieces.filter(({ type }) => type === 'byte').map(({ text }) => text))
  for (let byte = 0; byte < 256; byte++) if (!bytes.has(bytePiece(byte))) throw invalid(`it lacks ${bytePiece(byte)}`)
}

function mergesOf(merges: unknown, pieces: readonly Piece[]): MergeTable {
  if (!Array.isArray(merges)) throw invalid('the model has no merges')
  if (merges.length > MERGES_MAX) throw invalid(`it has more than ${MERGES_MAX} merges`)
  const known = new Map(pieces.map((piece) => [piece.text, piece]))
  const ranks = new Map<string, Map<number, number>>()
  for (const [rank, merge] of merges.entries()) {
    const [left, right] = pairOf(merge)
    const whole = left + right
    for (const text of [left, right, whole])
      if (!known.has(text)) throw invalid(`merge ${rank} names ${JSON.stringify(text)}, which is no piece`)
    if (known.get(left)!.type === 'byte' || known.get(right)!.type === 'byte')
      throw unsupported(`merge ${rank}, of a byte`)
    const by_left = ranks.get(whole) ?? new Map<number, number>()
    if (by_left.has(left.length)) throw invalid(`merge ${rank} is there twice`)
    by_left.set(left.length, rank)
    if (isMerged(known.get(whole)!)) ranks.set(whole, by_left)
  }
  const longest = pieces.reduce((most, { text, found_as = text }) => Math.max(most, found_as.length), 0)
  return {
    rankOf: (text, start, middle, end) => ranks.get(text.slice(start, end))?.get(middle - start),
    piece_length_max: longest,
  }
}

function pairOf(merge: unknown): [string, string] {
  const pair = typeof merge === 'string' ? merge.split(' ') : merge
  const isPair =
    Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string' && part !== '')
  if (!isPair) throw invalid(`the merge ${brief(merge)} is no pair`)
  return pair as [string, string]
}

function brief(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 80)
}

function invalid(what: string): ModelError {
  return new ModelError('tokenizer_invalid', `tokenizer.json: ${what}`)
}

function unsupported(what: string): ModelError {
  return new ModelError('tokenizer_unsupported', `tokenizer.json: ${what} is not supported`)
}
