// An architecture is how a config.json becomes the shape of a network, and which tensors the files of such a model hold,
// each with its place in the engine. Its other half is native/models/<name>.cpp, which has slots of these names.

import * as z from 'zod'
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
}

/** What an operator says where a config.json lacks it. */
export interface ToldConfig {
  rope_theta?: number | undefined
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
