// A Hugging Face folder as published: everything is checked by name before the first byte of weights is loaded.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Architecture, ToldConfig } from '../architecture/architecture.ts'
import type { TensorSource } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import type { Tokenizer } from '../tokenizer/tokenizer.ts'
import { readChatTemplate } from './chat-template-file.ts'
import { type ModelConfig, modelConfig } from './model-config.ts'
import { readJson } from './model-file.ts'
import { readTokenizer } from './tokenizer-files.ts'
import { findWeights } from './weights.ts'

export interface Model extends ModelConfig {
  tokenizer: Tokenizer
  tensors: TensorSource[]
  /** How the folder writes a chat, and the tokens that its template names; null where it does not say. */
  chat_template: { source: string; tokens: Record<string, string> } | null
}

/** `told` is what the operator says where the folder lacks it. */
export function readModelFolder(
  folder: string,
  { known, told }: { known?: readonly Architecture[]; told?: ToldConfig } = {},
): Model {
  const config = modelConfig(
    readJson(folder, 'config.json', 'config_invalid'),
    readJson(folder, 'generation_config.json', 'generation_config_invalid', { if_missing: null }),
    { ...(known && { known }), ...(told && { told }) },
  )
  refuseAdapter(folder)
  const { tokenizer, named, notes } = readTokenizer(folder, config.shape.vocab_size, {
    may_end: config.architecture.judgedText !== undefined,
  })
  const source = readChatTemplate(folder)
  return {
    ...config,
    notes: [...config.notes, ...notes],
    tokenizer,
    tensors: findWeights(folder, config),
    chat_template: source === null ? null : { source, tokens: { ...DEFAULT_TOKENS, ...Object.fromEntries(named) } },
  }
}

// Those of LlamaTokenizer, which a folder need not say.
const DEFAULT_TOKENS = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }

function refuseAdapter(folder: string): void {
  const file = 'adapter_config.json'
  if (!existsSync(join(folder, file))) return
  throw new ModelError(
    'weights_are_an_adapter',
    `${join(folder, file)}: the model would be another with its adapter; merge it into the weights, or take the file away`,
  )
}
