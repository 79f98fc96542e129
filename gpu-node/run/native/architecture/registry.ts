// The architectures that a node can load. A new one is a file beside llama.ts, a line here, and its half in native/models/.

import * as z from 'zod'
import { ModelError } from '../model-error.ts'
import { type Architecture, parsed } from './architecture.ts'
import { llama } from './llama.ts'

export const ARCHITECTURES: readonly Architecture[] = [llama]

const configSchema = z.object({ architectures: z.array(z.string()).nullish() })

/** The architecture of a config.json, among those that are known. */
export function architectureOf(config: unknown, known: readonly Architecture[]): Architecture {
  const { architectures } = parsed(configSchema, config, 'config_invalid', 'config.json')
  const found = known.find(({ config_name }) => architectures?.includes(config_name))
  if (found) return found
  const names = known.map(({ config_name }) => config_name)
  throw new ModelError(
    'config_unsupported_architecture',
    `config.json: architectures is ${JSON.stringify(architectures)}, only ${names.join(' and ')} is supported`,
  )
}
