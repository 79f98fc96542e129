// A Hugging Face folder as published: everything is checked by name before the first byte of weights is loaded.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { TensorSource } from '../engine.ts'
import { Tokenizer } from '../tokenizer/tokenizer.ts'
import { type ModelConfig, modelConfig } from './model-config.ts'
import { ModelError, type ModelErrorCode } from './model-error.ts'
import { readSmallFile } from './model-file.ts'
import { findWeights } from './weights.ts'

export interface Model extends ModelConfig {
  tokenizer: Tokenizer
  tensors: TensorSource[]
}

// Published models pad the vocabulary to a multiple of at most this; a larger difference is another model's tokenizer.
const PADDING_MAX = 127

export function readModelFolder(folder: string): Model {
  const config = modelConfig(
    readJson(folder, 'config.json', 'config_invalid'),
    existsSync(join(folder, 'generation_config.json'))
      ? readJson(folder, 'generation_config.json', 'generation_config_invalid')
      : null,
  )
  const tokenizer = new Tokenizer(readFile(folder, 'tokenizer.model'), addedTokens(folder))
  checkVocabulary(tokenizer.size, config.shape.vocab_size)
  return { ...config, tokenizer, tensors: findWeights(folder, config.shape) }
}

const addedSchema = z.record(z.string().min(1), z.int().nonnegative())

/** Special tokens that fine-tuning put behind the pieces, such as Ziya-LLaMA's `<human>`, in the order of their ids. */
function addedTokens(folder: string): [text: string, id: number][] {
  if (!existsSync(join(folder, 'added_tokens.json'))) return []
  const parsed = addedSchema.safeParse(readJson(folder, 'added_tokens.json', 'tokenizer_invalid'))
  if (!parsed.success) throw new ModelError('tokenizer_invalid', 'added_tokens.json does not map texts to ids')
  return Object.entries(parsed.data).sort(([, a], [, b]) => a - b)
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
