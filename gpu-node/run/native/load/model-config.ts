// config.json and generation_config.json of a Hugging Face folder: the architecture, the shape of the network and what ends a
// sequence, or a named refusal.

import * as z from 'zod'
import { type Architecture, parsed } from '../architecture/architecture.ts'
import { ARCHITECTURES, architectureOf } from '../architecture/registry.ts'
import type { ModelShape } from '../engine.ts'
import { ModelError, type ModelErrorCode } from '../model-error.ts'

const eos_token_id = z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish()
const endSchema = z.object({ eos_token_id })

export interface ModelConfig {
  architecture: Architecture
  shape: ModelShape
  eos_ids: ReadonlySet<number>
}

/** `generation_config` is null where the folder has none. Both are parsed JSON. */
export function modelConfig(
  config: unknown,
  generation_config: unknown,
  known: readonly Architecture[] = ARCHITECTURES,
): ModelConfig {
  const architecture = architectureOf(config, known)
  const shape = architecture.shapeOf(config)
  const of_config = parsed(endSchema, config, 'config_invalid', 'config.json')
  const file = 'generation_config.json'
  const own = parsed(endSchema.nullable(), generation_config, 'generation_config_invalid', file)?.eos_token_id
  const eos_ids =
    own != null
      ? checkedIds(own, shape.vocab_size, 'generation_config_invalid', file)
      : checkedIds(of_config.eos_token_id ?? [], shape.vocab_size, 'config_invalid', 'config.json')
  return { architecture, shape, eos_ids }
}

function checkedIds(ids: number | number[], vocab_size: number, code: ModelErrorCode, file: string): Set<number> {
  const outside = [ids].flat().find((id) => id >= vocab_size)
  if (outside !== undefined) throw new ModelError(code, `${file}: eos_token_id ${outside} is outside the vocabulary`)
  return new Set([ids].flat())
}
