// What is asked of a model beside generations: how a text falls into its tokens, and back. It holds and costs nothing.

import type { Count, Decoding, Question } from '../../contract/internal/question.ts'
import type { Caller } from '../auth/authenticate.ts'
import { baseOf, findNodes, type LiveNode } from '../billing/ledger.ts'
import { adapterOver, type Catalog, type CatalogModel, type Named, namedAs, namedIn } from '../catalog/catalog.ts'
import { catalogOf } from '../catalog/in-force.ts'
import { askQuestion, type NodeAnswer } from '../engine/ask.ts'
import { pickNode } from '../engine/pick.ts'
import type { Asking, Call } from '../env.ts'
import { adapterName } from '../field/node.ts'
import { ticketIssuerOf } from '../ticket-issuer.ts'
import { refusal } from './relay.ts'

/** The model that is asked for by this name, and as what the ledger is asked about it; throws where there is none. */
export async function modelOf(c: Asking, caller: Caller, name: string): Promise<{ model: CatalogModel; named: Named }> {
  const model = namedIn(await catalogFor(c, caller, name), name)
  return { model, named: namedAs(model, name) }
}

/** The catalog in force, and what is named where it is an adapter that the caller may ask. */
export async function catalogFor(c: Asking, caller: Caller, name: string): Promise<Catalog> {
  const catalog = await catalogOf(c)
  if (catalog.has(name) || !adapterName.safeParse(name).success) return catalog
  const adapter = adapterOver(catalog, name, await baseFor(c, caller, name))
  return adapter ? new Map([...catalog, [name, adapter]]) : catalog
}

const bases = new Map<string, { base: string; until_ms: number }>()
const BASES_MAX = 10_000
const REMEMBERED_MS = 5000

/** Remembered for a moment, since the lines of a batch ask for one again and again. What a key may use is decided when it is admitted. */
async function baseFor(c: Asking, caller: Caller, id: string): Promise<string | null> {
  const asked = [caller.key_hash, caller.address, id].join(' ')
  const known = bases.get(asked)
  if (known && known.until_ms > Date.now()) return known.base
  const base = await baseOf(c.env, { ...caller, model: id })
  if (bases.size >= BASES_MAX) bases.clear()
  if (base !== null) bases.set(asked, { base, until_ms: Date.now() + REMEMBERED_MS })
  return base
}

/** Asks a node of the model, for a key that may use it. */
export async function askModel<Q extends Question>(
  c: Call,
  caller: Caller,
  { model, alias }: Pick<Named, 'model' | 'alias'>,
  question: Q,
) {
  return askNodes(c, await findNodes(c.env, { ...caller, model, ...(alias !== undefined && { alias }) }), question)
}

type AnswerTo<Q extends Question> = Q extends { prompts: unknown } ? Count : Decoding

/** Asks one of these nodes, and another where it cannot be reached. */
async function askNodes<Q extends Question>(c: Call, nodes: LiveNode[], question: Q): Promise<AnswerTo<Q>> {
  const body = JSON.stringify(question)
  const first = pickNode(nodes)
  const second = pickNode(nodes.filter((node) => node !== first))
  let answer = await askOne(c, first, body)
  if (second && (answer === 'unreachable' || ('refused' in answer && answer.refused.code === 'draining')))
    answer = await askOne(c, second, body)
  if (answer === 'unreachable' || 'refused' in answer) throw refusal(answer)
  return (await answer.accepted.json()) as AnswerTo<Q>
}

// For clocks that differ, as a ticket's time is.
const QUESTION_MS_MAX = 60_000

async function askOne(c: Call, node: LiveNode | null, body: string): Promise<NodeAnswer> {
  if (!node) return 'unreachable'
  const issuer = await ticketIssuerOf(c.env)
  const asked = { node_id: node.id, expires_unix_ms: Date.now() + QUESTION_MS_MAX, body }
  return askQuestion(node.url, { signature: await issuer.signQuestion(asked), body })
}
