// GET /v1/entries: an account's own statement.

import type { Caller } from '../../auth/authenticate.ts'
import { accountOf } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { statement } from '../statement.ts'

const page = pageQuery({})

export async function listEntries(c: Call, caller: Caller): Promise<Response> {
  const wanted = readQuery(c, page)
  return statement(c, { ...wanted, account_id: await accountOf(c.env, { ...caller, scope: 'usage' }) })
}
