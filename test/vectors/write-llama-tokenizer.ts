// Writes LLaMA's tokenizer.model for the makers of vectors beside this file, which are Python and read it from a path.
//   node test/vectors/write-llama-tokenizer.ts .local/llama-32000.model

import { writeFileSync } from 'node:fs'
import { llamaTokenizerModel } from '../support/llama-vocabulary.ts'

const [file] = process.argv.slice(2)
if (!file) throw new Error('say where: node test/vectors/write-llama-tokenizer.ts FILE')
writeFileSync(file, llamaTokenizerModel())
