// What is asked of a model beside generations: how a text falls into its tokens, and back. It holds and costs nothing.

import type { Count, Decoding, Question } from '../../contract/internal/question.ts'
import type { Caller } from '../auth/authenticate.ts'
import { findNodes, type LiveNode } from '../billing/ledger.ts'
import { type CatalogModel, type Named, namedAs, namedIn } from '../catalog/catalog.ts'
import { catalogOf } from '../catalog/in-force.ts'
import { askQuestion, type NodeAnswer } from '../engine/ask.ts'
import { pickNode } from '../engine/pick.ts'
import type { Asking, Call } from '../env.ts'
import { ticketIssuerOf } from '../ticket-issuer.ts'
import { refusal } from './relay.ts'

/** The model that is asked for by this name, and as what the ledger is asked about it; throws where there is none. */
export async function modelOf(c: Asking, name: string): Promise<{ model: CatalogModel; named: Named }> {
  const model = namedIn(await catalogOf(c), name)
  return { model, named: namedAs(model, name) }
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
