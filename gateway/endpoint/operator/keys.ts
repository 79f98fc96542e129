// /admin/keys: the keys of every account.

import type { Operator } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { createdKey, creating, creation, keyEndpoints, listedKeys, listing } from '../keys.ts'

const body = creation.extend({ account_id: rowId })
const query = pageQuery({ account_id: rowId })

export const operatorsKeys = {
  create: endpoint({ ...creating, body }, async (c, operator: Operator) =>
    createdKey(c, { ...(await readBody(c, body)), ...operator }),
  ),
  list: endpoint({ ...listing, query }, async (c, _: Operator) => listedKeys(c, readQuery(c, query))),
  ...keyEndpoints<Operator>(),
}
