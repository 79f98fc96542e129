// /admin/keys: the keys of every account.

import type { Operator } from '../../auth/authenticate.ts'
import { rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { creation, keyEndpoints } from '../keys.ts'

export const operatorsKeys = keyEndpoints<Operator>({
  creation: creation.extend({ account_id: rowId }),
  query: pageQuery({ account_id: rowId }),
})
