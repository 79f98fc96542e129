// A model folder's tokenizer by itself, for a node whose engine is somebody else's: no weights are needed, and no architecture known.

import * as z from 'zod'
import type { PlainPart } from '../../../contract/internal/generation.ts'
import type { Truncation } from '../../../contract/internal/question.ts'
import { parsed } from './architecture/architecture.ts'
import { readJson } from './load/model-file.ts'
import { readTokenizer } from './load/tokenizer-files.ts'
import { encodePrompts } from './prepare.ts'
import { Detokenizer } from './tokenizer/detokenizer.ts'
import { refuseStrangeIds } from './tokenizer/encode-prompt.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

const config = z.looseObject({ vocab_size: z.int().positive() })

export class FolderVocabulary {
  readonly #tokenizer: Tokenizer

  constructor(folder: string) {
    const said = readJson(folder, 'config.json', 'config_invalid')
    const { vocab_size } = parsed(config, said, 'config_invalid', 'config.json')
    this.#tokenizer = readTokenizer(folder, vocab_size).tokenizer
  }

  encode(prompts: PlainPart[][], truncated: Truncation, sequence_tokens_max: number): number[][] {
    return encodePrompts({ prompts, ...truncated }, { model: { tokenizer: this.#tokenizer }, sequence_tokens_max })
  }

  decode(tokens: readonly number[]): { text: string; pieces: string[] } {
    refuseStrangeIds('tokens', tokens, this.#tokenizer)
    const pieces = tokens.map((id) => this.#tokenizer.piece(id)?.text ?? '')
    return { text: Detokenizer.textOf(this.#tokenizer, tokens), pieces }
  }

  count(text: string): number {
    return this.#tokenizer.encode(text, { is_first: false }).length
  }
}
