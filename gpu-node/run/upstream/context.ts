// What models an engine serves, and how many tokens their context has, by its own word: vLLM's, or that of those who sell it on.

import * as z from 'zod'
import type { Address, Addresses } from './addresses.ts'
import { type Connection, connectionError } from './connection.ts'

const tokens = z.int().positive().nullish().catch(null)
const models = z.looseObject({
  data: z.array(
    z.looseObject({ id: z.string(), max_model_len: tokens, context_length: tokens, context_window: tokens }),
  ),
})

const ANSWER_MS_MAX = 10_000

type ServedModel = z.infer<typeof models>['data'][number]

/** What it serves; none where it does not say. Throws where it does not answer. */
export async function modelsAt(address: Address, connection: Connection): Promise<ServedModel[]> {
  const { body } = await connection
    .ask(address, { path: '/models', signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    .catch((error) => {
      throw new Error(`${address.settings.url} does not answer: ${connectionError(error).message}`)
    })
  return models.safeParse(await body.json().catch(() => null)).data?.data ?? []
}

/** The least of them; throws where an address does not answer, or none of them says. */
export async function contextTokens(addresses: Addresses, connection: Connection, model: string): Promise<number> {
  const said = await Promise.all(
    addresses.all.map(async (address) =>
      contextIn(await modelsAt(address, connection), address.settings.model ?? model),
    ),
  )
  const known = said.flatMap((context) => context ?? [])
  if (known.length > 0) return Math.min(...known)
  throw new Error(`the engine does not say how long the context of ${model} is: say it with --context-tokens`)
}

function contextIn(served: ServedModel[], model: string): number | null {
  const own = served.find(({ id }) => id === model)
  return own?.max_model_len ?? own?.context_length ?? own?.context_window ?? null
}
