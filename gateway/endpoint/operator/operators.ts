// /admin/operators: who runs the service. One that is ended keeps its name in the log, and none of its keys. /admin/me: who asks.

import * as z from 'zod'
import * as shown from '../../../contract/public/operator.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { pathId } from '../../field/id.ts'
import { name } from '../../field/name.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'

const creation = z.strictObject({ name, role: shown.role })
const change = creation.partial()
const query = pageQuery({})

export const createOperator = endpoint(
  {
    says: 'Names an operator, who can do nothing before a key is made.',
    body: creation,
    answer: shown.operator,
    statuses: [201],
  },
  async (c, asker: Operator) => {
    const item = { ...(await readBody(c, creation)), created_by: c.var.operation.id, ...asker }
    const { operator } = await obtain(c.env, 'create_operator', item, 'created')
    return c.json(publicOperator(operator), 201)
  },
)

export const listOperators = endpoint(
  { says: 'Lists the operators, the newest first.', query, answer: pages.pageOf(shown.operator) },
  async (c, _: Operator) => {
    const wanted = readQuery(c, query)
    const operators = await rowsOf(c.env, 'list_operators', wanted)
    const data = operators.map((operator) => publicOperator(publicRow(operator)))
    return c.json(pageOf(data, wanted.limit, ({ id }) => id))
  },
)

export const updateOperator = endpoint(
  { says: 'Changes the name or the role of an operator.', body: change, answer: shown.operator },
  async (c, asker: Operator) => {
    const item = { ...asker, operator_id: pathId(c), fields: await readBody(c, change) }
    const { operator } = await obtain(c.env, 'update_operator', item, 'allowed')
    return c.json(publicOperator(operator))
  },
)

export const endOperator = endpoint(
  { says: 'Ends an operator: all of its keys are refused from now on.', answer: shown.operator },
  async (c, asker: Operator) => {
    const { operator } = await obtain(c.env, 'end_operator', { ...asker, operator_id: pathId(c) }, 'allowed')
    return c.json(publicOperator(operator))
  },
)

export const askingOperator = endpoint(
  { says: 'Shows which operator asks, and what they may do.', answer: shown.askingOperator },
  async (c, { by: { name, operator_id, key_id } }: Operator) =>
    c.json({ object: 'asking_operator', name, role: c.get('role')!, operator_id, key_id }),
)

function publicOperator(operator: Omit<shown.ShownOperator, 'object'>): shown.ShownOperator {
  return { object: 'operator', ...operator }
}
