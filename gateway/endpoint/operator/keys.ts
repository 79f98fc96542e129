// /admin/keys: the keys of every account.

import type { Operator } from '../../auth/authenticate.ts'
import { rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { creation, keyEndpoints } from '../keys.ts'

const page = pageQuery({ account_id: rowId })

export const operatorsKeys = keyEndpoints<Operator>({
  creation: creation.extend({ account_id: rowId }),
  page: async (c) => readQuery(c, page),
})
