// The models that are served, as the catalog in force says (contract/public/catalog.ts). Each isolate has a copy, and looks about once a
// second whether another one was published: behind a request, which waits for nothing. Only where nobody asked for long does a request wait
// for the look; and while the database is away the copy stays in force. What a request began with it keeps.

import { ask } from '../db/ask.ts'
import { type Asking, settingsOf } from '../env.ts'
import { byName, type Catalog } from './catalog.ts'

interface Copy {
  version: number | null
  catalog: Catalog
  looked_ms: number
}

const LOOK_MS = 1000
const OLD_MS = 10_000

let copy: Copy | null = null
let asked_ms = Number.NEGATIVE_INFINITY

/** The catalog in force; throws where there is no copy yet and the database cannot be asked. */
export async function catalogOf(c: Asking): Promise<Catalog> {
  const known = copy
  if (!known) return (await look(c)).catalog
  if (Date.now() - known.looked_ms < OLD_MS) lookSoon(c)
  else if (isDue()) return (await look(c).catch(() => known)).catalog
  return known.catalog
}

/** Looks for another catalog after this request, unless somebody just did. */
export function lookSoon(c: Asking): void {
  if (isDue()) c.executionCtx.waitUntil(look(c).catch(() => {}))
}

function isDue(): boolean {
  return Date.now() - asked_ms >= LOOK_MS
}

async function look({ env }: Asking): Promise<Copy> {
  asked_ms = Date.now()
  const answer = await ask(env, 'read_catalog', { known: copy?.version ?? null })
  const looked_ms = Date.now()
  const { local_model } = settingsOf(env)
  if (answer.decision === 'published')
    copy = { version: answer.version, catalog: byName(answer.models, local_model), looked_ms }
  else if (copy) copy = { ...copy, looked_ms }
  else copy = { version: null, catalog: byName([], local_model), looked_ms }
  return copy
}
