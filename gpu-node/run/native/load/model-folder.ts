// A Hugging Face folder as published: everything is checked by name before the first byte of weights is loaded.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Architecture } from '../architecture/architecture.ts'
import { ARCHITECTURES } from '../architecture/registry.ts'
import type { TensorSource } from '../engine.ts'
import { ModelError, type ModelErrorCode } from '../model-error.ts'
import { addedTokensOfConfig, addedTokensOfIds, withAdded } from '../tokenizer/added-tokens.ts'
import { parseTokenizerModel } from '../tokenizer/sentencepiece-file.ts'
import { Tokenizer } from '../tokenizer/tokenizer.ts'
import { parseTokenizerJson } from '../tokenizer/tokenizer-json.ts'
import { type ModelConfig, modelConfig } from './model-config.ts'
import { readSmallFile } from './model-file.ts'
import { findWeights } from './weights.ts'

export interface Model extends ModelConfig {
  tokenizer: Tokenizer
  tensors: TensorSource[]
}

// Published models pad the vocabulary to a multiple of at most this; a larger difference is another model's tokenizer.
const PADDING_MAX = 127

export function readModelFolder(folder: string, architectures: readonly Architecture[] = ARCHITECTURES): Model {
  const config = modelConfig(
    readJson(folder, 'config.json', 'config_invalid'),
    existsSync(join(folder, 'generation_config.json'))
      ? readJson(folder, 'generation_config.json', 'generation_config_invalid')
      : null,
    architectures,
  )
  const tokenizer = readTokenizer(folder)
  checkVocabulary(tokenizer.size, config.shape.vocab_size)
  return { ...config, tokenizer, tensors: findWeights(folder, config) }
}

/** tokenizer.model where there is one, else tokenizer.json; and the tokens that fine-tuning put behind its pieces. */
function readTokenizer(folder: string): Tokenizer {
  const has = (name: string) => existsSync(join(folder, name))
  const read = (name: string) => readJson(folder, name, 'tokenizer_invalid')
  if (!has('tokenizer.model') && !has('tokenizer.json'))
    throw new ModelError('model_file_missing', `${folder} has neither tokenizer.model nor tokenizer.json`)
  let model = has('tokenizer.model')
    ? parseTokenizerModel(readFile(folder, 'tokenizer.model'))
    : parseTokenizerJson(readFile(folder, 'tokenizer.json').toString('utf8'))
  if (has('tokenizer_config.json'))
    model = withAdded(model, addedTokensOfConfig(read('tokenizer_config.json')), 'tokenizer_config.json')
  if (has('added_tokens.json'))
    model = withAdded(model, addedTokensOfIds(read('added_tokens.json')), 'added_tokens.json')
  return new Tokenizer(model)
}

function checkVocabulary(pieces: number, vocab_size: number): void {
  const padding = vocab_size - pieces
  if (padding >= 0 && padding <= PADDING_MAX) return
  throw new ModelError(
    'tokenizer_vocabulary_mismatch',
    `the tokenizer has ${pieces} pieces, config.json a vocabulary of ${vocab_size}`,
  )
}

function readJson(folder: string, name: string, code: ModelErrorCode): unknown {
  const text = readFile(folder, name).toString('utf8')
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new ModelError(code, `${join(folder, name)} is not JSON`)
  }
}

function readFile(folder: string, name: string): Buffer {
  const path = join(folder, name)
  if (!existsSync(path)) throw new ModelError('model_file_missing', `${folder} has no ${name}`)
  return readSmallFile(path)
}
