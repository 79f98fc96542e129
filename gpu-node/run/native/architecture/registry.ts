// The architectures that a node can load. A new one is a file beside llama.ts, a line here, and its half in native/models/.

import * as z from 'zod'
import { ModelError } from '../model-error.ts'
import { type Architecture, parsed } from './architecture.ts'
import { gptBigCode } from './gpt-bigcode.ts'
import { llama } from './llama.ts'
import { llamaReward } from './llama-reward.ts'

export const ARCHITECTURES: readonly Architecture[] = [llama, llamaReward, gptBigCode]

const configSchema = z.looseObject({
  architectures: z.array(z.string()).nullish(),
  model_type: z.string().nullish(),
  quantization_config: z.record(z.string(), z.unknown()).nullish(),
})

/**
 * The architecture of a config.json, among those that are known. This is looked at before anything else: what is wrong with the config
 * of another architecture says nothing.
 */
export function architectureOf(config: unknown, known: readonly Architecture[]): Architecture {
  const { architectures, model_type, quantization_config } = parsed(
    configSchema,
    config,
    'config_invalid',
    'config.json',
  )
  const found = known.find((one) =>
    architectures?.length
      ? one.config_names.some((name) => architectures.includes(name))
      : one.model_type === model_type,
  )
  if (!found) throw unsupported(`architectures is ${JSON.stringify(architectures ?? model_type)}`, known)
  if (model_type != null && model_type !== found.model_type)
    throw unsupported(`model_type is ${JSON.stringify(model_type)}`, known)
  if (quantization_config) throw quantized(quantization_config)
  return found
}

function unsupported(what: string, known: readonly Architecture[]): ModelError {
  const names = known.flatMap(({ config_names }) => config_names)
  return new ModelError(
    'config_unsupported_architecture',
    `config.json: ${what}, only ${names.join(' and ')} is supported`,
  )
}

function quantized({ quant_method }: Record<string, unknown>): ModelError {
  return new ModelError(
    'config_unsupported_quantization',
    `config.json: quantization_config is ${JSON.stringify(quant_method) ?? 'there'}; serve the weights in F16, BF16 or F32`,
  )
}
