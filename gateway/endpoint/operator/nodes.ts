// /admin/nodes: which nodes may report and be asked. The private half of a node's key is the node's alone: what is registered is the
// public one, so neither the gateway nor its database can speak as a node.

import * as z from 'zod'
import * as shown from '../../../contract/public/node.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { catalogOf } from '../../catalog/in-force.ts'
import { obtain } from '../../db/ask.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { pathId } from '../../field/id.ts'
import { nodeId, nodeModel, nodeUrl, publicKey } from '../../field/node.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'

const creation = z.strictObject({ id: nodeId, url: nodeUrl, model: nodeModel, public_key: publicKey })
const change = z.strictObject({ url: nodeUrl, model: nodeModel, drain: z.boolean() }).partial()
const OVERLAP_S_MAX = 30 * 86_400
const rotation = z.strictObject({ public_key: publicKey, overlap_s: z.int().min(0).max(OVERLAP_S_MAX).default(0) })
const query = pageQuery({ after: nodeId.optional() })

export const operatorsNodes = {
  create: endpoint(
    { says: 'Registers a node.', body: creation, answer: shown.node, statuses: [201] },
    async (c, operator: Operator) => {
      const { public_key, ...named } = await readBody(c, creation)
      await requireServed(c, named.model)
      const { node } = await obtain(c.env, 'create_node', { ...named, ...operator, key: public_key }, 'created')
      return c.json(publicNode(node), 201)
    },
  ),

  list: endpoint(
    { says: 'Lists the nodes, by their ids.', query, answer: pages.pageOf(shown.node) },
    async (c, _: Operator) => {
      const wanted = readQuery(c, query)
      const nodes = await rowsOf(c.env, 'list_nodes', wanted)
      const data = nodes.map((node) => publicNode(publicRow(node)))
      return c.json(pageOf(data, wanted.limit, ({ id }) => id))
    },
  ),

  retrieve: endpoint({ says: 'Shows a node.', answer: shown.node }, async (c, _: Operator) => {
    const [node] = await rowsOf(c.env, 'list_nodes', { id: pathId(c, 'id', nodeId), limit: 1 })
    if (!node) throw new ApiError('not_found')
    return c.json(publicNode(publicRow(node)))
  }),

  update: endpoint(
    {
      says: 'Changes what is given of a node; one that is drained gets nothing new.',
      body: change,
      answer: shown.node,
    },
    async (c, operator: Operator) => {
      const changes = await readBody(c, change)
      if (changes.model !== undefined) await requireServed(c, changes.model)
      const item = { ...changes, ...operator, id: pathId(c, 'id', nodeId) }
      const { node } = await obtain(c.env, 'update_node', item, 'updated')
      return c.json(publicNode(node))
    },
  ),

  remove: endpoint(
    { says: 'Removes a node: it gets nothing new, and what it reports is refused.', answer: shown.node },
    async (c, operator: Operator) => {
      const { node } = await obtain(c.env, 'remove_node', { ...operator, id: pathId(c, 'id', nodeId) }, 'removed')
      return c.json(publicNode(node))
    },
  ),

  rotate: endpoint(
    {
      says: 'Gives a node another key; the one before works for the overlap.',
      body: rotation,
      answer: shown.node,
    },
    async (c, operator: Operator) => {
      const { public_key, overlap_s } = await readBody(c, rotation)
      const item = { ...operator, id: pathId(c, 'id', nodeId), key: public_key, overlap_s }
      const { node } = await obtain(c.env, 'rotate_node_key', item, 'rotated')
      return c.json(publicNode(node))
    },
  ),
}

async function requireServed(c: Call, id: string): Promise<void> {
  const model = (await catalogOf(c)).get(id)
  if (model?.id !== id) throw new ApiError('model_not_found', { param: 'model' })
}

function publicNode(node: Omit<shown.Node, 'object'>): shown.Node {
  return { object: 'node', ...node }
}
