// Tokens that stand beside a tokenizer's own pieces, as the files of Hugging Face list them. A special one is never found
// in text; another is cut out of the text before anything else happens to it. What several files say of one token must agree.

import * as z from 'zod'
import { ModelError } from '../model-error.ts'
import type { Piece, TokenizerModel } from './sentencepiece-file.ts'

export interface AddedToken {
  id: number
  content: string
  special: boolean
  normalized: boolean // looked for behind the normalizer
  lstrip?: boolean
  rstrip?: boolean
  is_flagged: boolean // its file says what it is; else it is taken as special
}

const flags = z.object({
  content: z.string().min(1),
  special: z.boolean().default(true),
  normalized: z.boolean().default(false),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
})

const decoderSchema = z.looseObject({ added_tokens_decoder: z.record(z.string().regex(/^\d{1,8}$/), flags).optional() })
const listSchema = z.array(flags.extend({ id: z.int().nonnegative() }))
const idsSchema = z.record(z.string().min(1), z.int().nonnegative())

/** `added_tokens` of a tokenizer.json, in the order of their ids. */
export function addedTokensOf(list: unknown): AddedToken[] {
  const parsed = listSchema.safeParse(list)
  if (!parsed.success) throw invalid('tokenizer.json: added_tokens is not a list of tokens')
  return inOrder('tokenizer.json', parsed.data)
}

/** `added_tokens_decoder` of a tokenizer_config.json, in the order of their ids. */
export function addedTokensOfConfig(config: unknown): AddedToken[] {
  const parsed = decoderSchema.safeParse(config)
  if (!parsed.success) throw invalid('tokenizer_config.json: added_tokens_decoder does not map ids to tokens')
  const entries = Object.entries(parsed.data.added_tokens_decoder ?? {})
  return inOrder(
    'tokenizer_config.json',
    entries.map(([id, token]) => ({ ...token, id: Number(id) })),
  )
}

/**
 * An added_tokens.json, that fine-tuning left behind: `{"<human>": 32000}`. It has no flags, and what steers a model is not for a
 * caller to spell: all of them are special, unless another file says otherwise.
 */
export function addedTokensOfIds(ids: unknown): AddedToken[] {
  const parsed = idsSchema.safeParse(ids)
  if (!parsed.success) throw invalid('added_tokens.json does not map texts to ids')
  const unflagged = { special: true, normalized: false, is_flagged: false }
  return Object.entries(parsed.data)
    .map(([content, id]) => ({ id, content, ...unflagged }))
    .sort((a, b) => a.id - b.id)
}

type Flagged = z.infer<typeof listSchema>[number]

// How a token takes the spaces around it matters only where it is looked for in text.
function inOrder(file: string, tokens: Flagged[]): AddedToken[] {
  const strips = tokens.find(
    ({ special, single_word, lstrip, rstrip }) => !special && (single_word || lstrip || rstrip),
  )
  if (strips)
    throw new ModelError(
      'tokenizer_unsupported',
      `${file}: ${JSON.stringify(strips.content)} has single_word, lstrip or rstrip, which are not supported`,
    )
  return tokens.map(({ single_word: _, ...token }) => ({ ...token, is_flagged: true })).sort((a, b) => a.id - b.id)
}

const UNUSED: Piece = { text: '', score: 0, type: 'unused' }

/** One file's tokens. */
export interface AddedTokens {
  file: string
  tokens: readonly AddedToken[]
}

/**
 * A model with more tokens. The files may repeat what is there and each other, and may leave ids out: those are of no token. Refuses
 * what they contradict each other in.
 */
export function withAdded(model: TokenizerModel, files: readonly AddedTokens[]): TokenizerModel {
  const pieces = [...model.pieces]
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  if (model.is_metaspace || model.word_rule) refuseTwoPasses(files)
  for (const { token, file } of agreed(files)) {
    const { id, content } = token
    const known = ids.get(content)
    if (known === undefined ? (pieces[id] ?? UNUSED) !== UNUSED : known !== id)
      throw invalid(`${file}: ${JSON.stringify(content)} cannot have the id ${id}`)
    if (id >= pieces.length + GAP_MAX)
      throw invalid(`${file}: ${JSON.stringify(content)} has the id ${id}, out of range`)
    ids.set(content, id)
    while (pieces.length < id) pieces.push(UNUSED)
    pieces[id] = pieceOf(token, known === undefined ? undefined : pieces[id], model)
  }
  return { ...model, pieces }
}

// Ids that no token has are rows of padding in the network: so many at most are taken for that.
const GAP_MAX = 1024

interface Told {
  token: AddedToken
  file: string
}

/** Each token once, in the order of ids, as the files that flag it have it. */
function agreed(files: readonly AddedTokens[]): Told[] {
  const told = new Map<string, Told>()
  for (const { file, tokens } of files) {
    for (const token of tokens) {
      const before = told.get(token.content)
      if (before) refuseContradiction(before, { token, file })
      if (!before?.token.is_flagged) told.set(token.content, { token, file })
    }
  }
  return [...told.values()].sort((a, b) => a.token.id - b.token.id)
}

function refuseContradiction(a: Told, b: Told): void {
  const named = JSON.stringify(a.token.content)
  if (a.token.id !== b.token.id)
    throw invalid(`${named} has the id ${a.token.id} in ${a.file} and ${b.token.id} in ${b.file}`)
  if (a.token.is_flagged && b.token.is_flagged && a.token.special !== b.token.special)
    throw invalid(`${named} is special in one of ${a.file} and ${b.file} and not in the other`)
}

// Without a normalizer both kinds stand in the text itself, but one is looked for before the other.
function refuseTwoPasses(files: readonly AddedTokens[]): void {
  const plain = files.flatMap(({ tokens }) => tokens).filter(({ special }) => !special)
  if (new Set(plain.map(({ normalized }) => normalized)).size < 2) return
  throw new ModelError(
    'tokenizer_unsupported',
    'added tokens of both kinds, normalized and not, are not supported here',
  )
}

function pieceOf(token: AddedToken, known: Piece | undefined, model: TokenizerModel): Piece {
  const { content, special, normalized, lstrip = false, rstrip = false } = token
  if (known?.type === 'control' && special) return { ...known, takes_left: lstrip, takes_right: rstrip }
  if (known && known.type !== 'normal') return known
  const piece = { text: content, score: known?.score ?? 0 }
  if (special) return { ...piece, type: 'control', takes_left: lstrip, takes_right: rstrip }
  if (!normalized || model.is_metaspace || model.word_rule)
    return { ...piece, type: 'added', is_merged: known !== undefined }
  const prefix = model.add_dummy_prefix ? '\u2581' : ''
  return { ...piece, type: 'user_defined', found_as: prefix + content.replaceAll(' ', '\u2581') }
}

function invalid(message: string): ModelError {
  return new ModelError('tokenizer_invalid', message)
}
