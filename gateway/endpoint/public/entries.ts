// GET /v1/entries: an account's own statement.

import type { Caller } from '../../auth/authenticate.ts'
import { accountOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { listing, statement } from '../statement.ts'

const query = pageQuery({})

export const listEntries = endpoint({ ...listing, query }, async (c, caller: Caller) => {
  const page = readQuery(c, query)
  return statement(c, { ...page, account_id: await accountOf(c.env, { ...caller, scope: 'usage' }) })
})
