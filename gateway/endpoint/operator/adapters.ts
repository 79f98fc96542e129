// /admin/adapters: the LoRA adapters that may be asked by their names, over which model, and by whom.

import * as z from 'zod'
import * as shown from '../../../contract/public/adapter.ts'
import { listOf } from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { catalogOf } from '../../catalog/in-force.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { pathId, rowId } from '../../field/id.ts'
import { adapterName, nodeModel } from '../../field/node.ts'
import { readBody } from '../../field/read-body.ts'

const creation = z.strictObject({ id: adapterName, base: nodeModel, account_id: rowId.nullable().default(null) })

export const operatorsAdapters = {
  create: endpoint(
    {
      says: 'Makes an adapter known, or gives it to another account, or to all.',
      body: creation,
      answer: shown.adapter,
      statuses: [201],
    },
    async (c, operator: Operator) => {
      const named = await readBody(c, creation)
      const catalog = await catalogOf(c)
      if (catalog.get(named.base)?.id !== named.base) throw new ApiError('model_not_found', { param: 'base' })
      if (catalog.has(named.id)) throw new ApiError('adapter_exists', { param: 'id' })
      const { adapter } = await obtain(c.env, 'create_adapter', { ...named, ...operator }, 'created')
      return c.json(publicAdapter(adapter), 201)
    },
  ),

  list: endpoint({ says: 'Lists the adapters.', answer: listOf(shown.adapter) }, async (c, operator: Operator) => {
    const { adapters } = await obtain(c.env, 'read_adapters', operator, 'read')
    return c.json({ object: 'list', data: adapters.map(publicAdapter) })
  }),

  remove: endpoint(
    { says: 'Removes an adapter: nobody can ask it any more.', answer: shown.adapter },
    async (c, operator: Operator) => {
      const item = { ...operator, id: pathId(c, 'id', adapterName) }
      return c.json(publicAdapter((await obtain(c.env, 'remove_adapter', item, 'removed')).adapter))
    },
  ),
}

function publicAdapter(adapter: Omit<shown.Adapter, 'object'>): shown.Adapter {
  return { object: 'adapter', ...adapter }
}
