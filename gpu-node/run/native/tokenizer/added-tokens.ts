// Tokens that stand beside a tokenizer's own pieces, as the files of Hugging Face list them. A special one is never found
// in text; another is cut out of the text before anything else happens to it.

import * as z from 'zod'
import { ModelError } from '../model-error.ts'
import type { Piece, TokenizerModel } from './sentencepiece-file.ts'

export interface AddedToken {
  id: number
  content: string
  special: boolean
  normalized: boolean // looked for behind the normalizer
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

/** An added_tokens.json, that fine-tuning left behind: `{"<human>": 32000}`, all of them special. */
export function addedTokensOfIds(ids: unknown): AddedToken[] {
  const parsed = idsSchema.safeParse(ids)
  if (!parsed.success) throw invalid('added_tokens.json does not map texts to ids')
  const tokens = Object.entries(parsed.data).map(([content, id]) => ({ id, content, special: true, normalized: false }))
  return tokens.sort((a, b) => a.id - b.id)
}

type Flagged = z.infer<typeof listSchema>[number]

function inOrder(file: string, tokens: Flagged[]): AddedToken[] {
  const strips = tokens.find(({ single_word, lstrip, rstrip }) => single_word || lstrip || rstrip)
  if (strips)
    throw new ModelError(
      'tokenizer_unsupported',
      `${file}: ${JSON.stringify(strips.content)} has single_word, lstrip or rstrip, which are not supported`,
    )
  return tokens
    .map(({ id, content, special, normalized }) => ({ id, content, special, normalized }))
    .sort((a, b) => a.id - b.id)
}

/** A model with more tokens: a list may repeat what is there, and must continue it without a gap. */
export function withAdded(model: TokenizerModel, added: readonly AddedToken[], file: string): TokenizerModel {
  const pieces = [...model.pieces]
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  for (const token of added) {
    const { id, content } = token
    const known = ids.get(content)
    if (known === undefined ? id !== pieces.length : known !== id)
      throw invalid(`${file}: ${JSON.stringify(content)} cannot have the id ${id}`)
    ids.set(content, id)
    pieces[id] = pieceOf(token, pieces[id], model)
  }
  return { ...model, pieces }
}

function pieceOf(token: AddedToken, known: Piece | undefined, model: TokenizerModel): Piece {
  if (known && known.type !== 'normal') return known
  const { content, special, normalized } = token
  const piece = { text: content, score: known?.score ?? 0 }
  if (special) return { ...piece, type: 'control' }
  if (!normalized) return { ...piece, type: 'added' }
  const prefix = model.add_dummy_prefix ? '\u2581' : ''
  return { ...piece, type: 'user_defined', found_as: prefix + content.replaceAll(' ', '\u2581') }
}

function invalid(message: string): ModelError {
  return new ModelError('tokenizer_invalid', message)
}
