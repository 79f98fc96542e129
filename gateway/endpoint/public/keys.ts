// /v1/keys: an account's own keys, by one of them with the scope `keys`. POST /v1/keys/leak needs nothing but the key itself.

import * as shown from '../../../contract/public/key.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { accountOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { createdKey, creating, creation, keyEndpoints, listedKeys, listing } from '../keys.ts'

const query = pageQuery({})

export const ownKeys = {
  create: endpoint({ ...creating, body: creation }, async (c, caller: Caller) =>
    createdKey(c, { ...(await readBody(c, creation)), ...caller }),
  ),
  list: endpoint({ ...listing, query }, async (c, caller: Caller) => {
    const page = readQuery(c, query)
    return listedKeys(c, { ...page, account_id: await accountOf(c.env, { ...caller, scope: 'keys' }) })
  }),
  ...keyEndpoints<Caller>(),
}

export const leakKey = endpoint(
  { says: 'Revokes the very key it is called with, and every key made by it.', answer: shown.leakedKey },
  async (c, { key_hash }: Caller) => {
    const { key_id, revoked_at } = await obtain(c.env, 'leak_key', { key_hash }, 'revoked')
    return c.json({ object: 'key', id: key_id, revoked_at })
  },
)
