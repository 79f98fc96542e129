// What stands between two texts, asked for as StarCoder, SantaCoder and DeepSeek Coder were trained to be asked: prefix, suffix, then the middle
// is written. A model is known to have been by the tokens of its vocabulary. (Source: the cards of bigcode/starcoder, bigcode/santacoder and
// deepseek-ai/deepseek-coder-6.7b-base.)

import type { InfillPart, PlainPart } from '../../../contract/internal/generation.ts'
import { Refusal } from '../../refusal.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

const SPELLINGS = [
  { prefix: '<fim_prefix>', suffix: '<fim_suffix>', middle: '<fim_middle>' },
  { prefix: '<fim-prefix>', suffix: '<fim-suffix>', middle: '<fim-middle>' },
  { prefix: '<｜fim▁begin｜>', suffix: '<｜fim▁hole｜>', middle: '<｜fim▁end｜>' },
]

/** Refuses `no_infill` where the model was not trained for it. */
export function infillParts({ infill }: InfillPart, tokenizer: Pick<Tokenizer, 'specialId'>): PlainPart[] {
  const marks = SPELLINGS.find((each) => Object.values(each).every((text) => tokenizer.specialId(text) !== null))
  if (!marks)
    throw new Refusal('no_infill', 'This model was not trained to write before a suffix.', { param: 'suffix' })
  return [
    { special: marks.prefix },
    { text: infill.before },
    { special: marks.suffix },
    { text: infill.after },
    { special: marks.middle },
  ]
}
