// Writes tokenizer.json files, good and bad, for tests; among them what transformers makes of a tokenizer.model.

import { bytePiece, type TokenizerModel } from '../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'

export type Merge = [left: string, right: string]

/** Every split of a piece into two pieces, the best score first, as transformers' generate_merges lists them. */
export function mergesOf({ pieces }: TokenizerModel): Merge[] {
  const parts = new Set(pieces.filter(({ type }) => type !== 'control' && type !== 'unknown').map(({ text }) => text))
  const splits = pieces
    .filter(({ text }) => parts.has(text))
    .flatMap(({ text, score }) => {
      const symbols = [...text]
      return symbols.slice(1).flatMap((_, i) => {
        const merge: Merge = [symbols.slice(0, i + 1).join(''), symbols.slice(i + 1).join('')]
        return merge.every((part) => parts.has(part))
          ? [{ merge, score, left: i + 1, right: symbols.length - i - 1 }]
          : []
      })
    })
  splits.sort((a, b) => b.score - a.score || b.left - a.left || b.right - a.right)
  return splits.map(({ merge }) => merge)
}

/** An order that follows no score, with a tenth left out; make_tokenizer_json_vectors.py has the same. */
export function shuffled(merges: Merge[]): Merge[] {
  const keyed = merges.map((merge, i) => ({ merge, key: Math.imul(i, 2_654_435_761) >>> 0 }))
  return keyed
    .filter(({ key }) => key % 10 > 0)
    .sort((a, b) => a.key - b.key)
    .map(({ merge }) => merge)
}

export interface TokenizerJsonOptions {
  pieces?: string[] // in the order of their ids
  merges?: unknown
  prefix?: boolean // a space before every text
  added?: object[] // behind <unk>, <s> and </s>
  model?: object // fields of the model that differ
  file?: object // and of the file
}

const SPECIAL = ['<unk>', '<s>', '</s>']

export function tokenizerJson(options: TokenizerJsonOptions = {}): string {
  const { pieces = smallPieces(), merges = [['a', 'b']], prefix = true, added = [] } = options
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' }
  const decoders = [
    { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ]
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...SPECIAL.map((content, id) => addedToken({ id, content })), ...added],
    normalizer: {
      type: 'Sequence',
      normalizers: prefix ? [{ type: 'Prepend', prepend: '\u2581' }, replace] : [replace],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Sequence', decoders },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map((text, id) => [text, id])),
      merges,
      ...options.model,
    },
    ...options.file,
  })
}

export function addedToken(token: { id: number; content: string; special?: boolean; normalized?: boolean }): object {
  return { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...token }
}

/** 262 pieces: the special ones, the bytes, and a, b, ab. */
export function smallPieces(): string[] {
  return [...SPECIAL, ...Array.from({ length: 256 }, (_, byte) => bytePiece(byte)), 'a', 'b', 'ab']
}
