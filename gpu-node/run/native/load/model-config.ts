// config.json and generation_config.json of a Hugging Face folder: the architecture, the shape of the network and what ends a
// sequence, or a named refusal.

import * as z from 'zod'
import { type Architecture, parsed, type ToldConfig } from '../architecture/architecture.ts'
import { ARCHITECTURES, architectureOf } from '../architecture/registry.ts'
import type { ModelShape } from '../engine.ts'
import { ModelError } from '../model-error.ts'

const eos_token_id = z.union([z.int(), z.array(z.int())]).nullish()
const endSchema = z.looseObject({ eos_token_id })

export interface ModelConfig {
  architecture: Architecture
  shape: ModelShape
  eos_ids: ReadonlySet<number>
  /** What was left out of the files, for the log. */
  notes: readonly string[]
}

/** `generation_config` is null where the folder has none. Both are parsed JSON. */
export function modelConfig(
  config: unknown,
  generation_config: unknown,
  { known = ARCHITECTURES, told }: { known?: readonly Architecture[]; told?: ToldConfig } = {},
): ModelConfig {
  const architecture = architectureOf(config, known)
  const shape = architecture.shapeOf(config, told)
  const of_config = parsed(endSchema, config, 'config_invalid', 'config.json')
  const file = 'generation_config.json'
  const own = parsed(endSchema.nullable(), generation_config, 'generation_config_invalid', file)
  refuseOtherDecoding(own ?? of_config, own ? file : 'config.json')
  const said = [own?.eos_token_id ?? of_config.eos_token_id ?? []].flat()
  const eos_ids = said.filter((id) => id >= 0 && id < shape.vocab_size)
  const notes = said
    .filter((id) => !eos_ids.includes(id))
    .map((id) => `eos_token_id ${id} is outside the vocabulary of ${shape.vocab_size}: it is left out`)
  return { architecture, shape, eos_ids: new Set(eos_ids), notes }
}

/**
 * How a folder wants tokens to be found, beside the parameters that a request or the catalog gives; and what it may say of it: nothing,
 * or what makes no difference.
 */
const NEUTRAL: Record<string, readonly unknown[]> = {
  num_beams: [1],
  num_beam_groups: [1],
  diversity_penalty: [0],
  penalty_alpha: [0],
  guidance_scale: [1],
  no_repeat_ngram_size: [0],
  encoder_no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  min_length: [0],
  min_new_tokens: [0],
  exponential_decay_length_penalty: [],
  suppress_tokens: [],
  begin_suppress_tokens: [],
  bad_words_ids: [],
  force_words_ids: [],
  sequence_bias: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  watermarking_config: [],
}

function refuseOtherDecoding(config: Record<string, unknown>, file: string): void {
  for (const [key, values] of Object.entries(NEUTRAL)) {
    const value = config[key] ?? null
    if (value === null || values.includes(value) || (Array.isArray(value) && value.length === 0)) continue
    throw new ModelError(
      'generation_config_unsupported',
      `${file}: ${key} is ${JSON.stringify(value).slice(0, 80)}, which is not done here; take it out, and let requests say it`,
    )
  }
}
