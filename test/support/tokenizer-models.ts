// The tokenizer.model files that have vectors in test/vectors, by the names that the vectors use.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { testData } from './data.ts'
import { llamaTokenizerModel } from './llama-vocabulary.ts'

export const tokenizerModels = {
  llama: llamaTokenizerModel,
  stories260k: () => readFileSync(testData('stories260K/tokenizer.model')),
  'ziya-coding-mini': () => readFileSync(join(import.meta.dirname, '../../models/ziya-coding-mini/tokenizer.model')),
}
