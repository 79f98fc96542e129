// /v1/keys: an account's own keys, by one of them with the scope `keys`. POST /v1/keys/leak needs nothing but the key itself.

import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import { accountOf } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { creation, keyEndpoints } from '../keys.ts'

const page = pageQuery({})

export const ownKeys = keyEndpoints<Caller>({
  creation,
  page: async (c, caller) => ({
    ...readQuery(c, page),
    account_id: await accountOf(c.env, { ...caller, scope: 'keys' }),
  }),
})

export async function leakKey(c: Call, { key_hash }: Caller): Promise<Response> {
  const leaked = await ask<{ key_id: string; revoked_at: string }>(c.env, 'leak_key', { key_hash }, 'revoked')
  return c.json({ object: 'key', id: leaked.key_id, revoked_at: leaked.revoked_at })
}
