// An architecture is how a config.json becomes the shape of a network, and which tensors the files of such a model hold,
// each with its place in the engine. Its other half is native/models/<name>.cpp, which has slots of these names.

import * as z from 'zod'
import type { JudgedPart } from '../../../../contract/internal/generation.ts'
import type { ModelShape } from '../engine.ts'
import { ModelError, type ModelErrorCode } from '../model-error.ts'
import { DIMENSION_MAX } from './bounds.ts'

export interface Architecture {
  /** The names that config.json may have in `architectures`. */
  config_names: readonly string[]
  /** What it has as `model_type`, where it has that. */
  model_type: string
  /** What a refusal calls a model of it. */
  title: string
  /** Throws a ModelError where a config is not one of this architecture, or of a kind that the engine does not compute. */
  shapeOf(config: unknown, told?: ToldConfig): ModelShape
  /** All that such a model has, in the order of the network. */
  tensorsOf(shape: ModelShape): SlotTensor[]
  /** The two tensors that are one where a config ties the embeddings: the embedding, and the head. */
  tied: readonly string[]
  /** Says whether the files may have this tensor, too, though nothing is computed with it. */
  isHarmless(name: string, shape: ModelShape): boolean
  /** The text that such a model judges by a value at its end. One that has it writes nothing. */
  judgedText?(pair: JudgedPart['judged']): string
}

/** What an operator says where a config.json lacks it. */
export interface ToldConfig {
  rope_theta?: number | undefined
}

export type RopeScaling = Pick<
  ModelShape,
  'rope_scaling_factor' | 'rope_original_tokens' | 'rope_low_turns' | 'rope_high_turns'
>

export const UNSCALED: RopeScaling = {
  rope_scaling_factor: 1,
  rope_original_tokens: 0,
  rope_low_turns: 0,
  rope_high_turns: 0,
}

/** A tensor as it is published, and the rows of the slot that it is. */
export interface SlotTensor {
  name: string
  shape: number[] // (rows, columns), or (columns)
  slot: string
  first_row: number
}

export const dimension = z.int().positive().max(DIMENSION_MAX)

/** Parsed by the schema, or refused with the first thing that is wrong. */
export function parsed<T>(schema: z.ZodType<T>, value: unknown, code: ModelErrorCode, file: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]!
  throw new ModelError(code, `${file}: ${path.join('.')}: ${message}`)
}

/** Refuses a config that says of a key what changes the numbers. `neutral` has, by key, what it may say: nothing, or one of these. */
export function refuseUnlessNeutral(
  config: Readonly<Record<string, unknown>>,
  neutral: Readonly<Record<string, readonly unknown[]>>,
): void {
  for (const [key, values] of Object.entries(neutral)) {
    const value = config[key] ?? null
    if (value === null || values.includes(value)) continue
    const known = values.length > 0 ? `, only ${values.map((one) => JSON.stringify(one)).join(' and ')}` : ''
    throw invalid(`${key} is ${JSON.stringify(value)}, which is not computed here${known}`)
  }
}

export function invalid(what: string): ModelError {
  return new ModelError('config_invalid', `config.json: ${what}`)
}
