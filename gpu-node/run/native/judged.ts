// The prompt of a model that judges: its own format of a text and what answers it, and the model's end, of which the value is asked.

import type { JudgedPart, PlainPart } from '../../../contract/internal/generation.ts'
import { Refusal } from '../../refusal.ts'
import type { Model } from './load/model-folder.ts'
import { BEGIN } from './tokenizer/tokenizer.ts'

export type JudgingModel = Pick<Model, 'eos_ids'> & { architecture?: Pick<Model['architecture'], 'judgedText'> }

/** Refuses `wrong_model` where it does not judge. */
export function judgedParts({ judged }: JudgedPart, { architecture, eos_ids }: JudgingModel): PlainPart[] {
  const text = architecture?.judgedText?.(judged)
  if (text === undefined) throw wrongModel('This model writes answers and does not judge them.')
  return [{ special: BEGIN }, { text }, { tokens: [...eos_ids].slice(0, 1) }]
}

export function wrongModel(message: string): Refusal {
  return new Refusal('wrong_model', message, { param: 'model' })
}
