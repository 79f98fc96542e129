// Keys are made, listed, changed, rotated and revoked, by a key of the account with the scope `keys` or by the operator. A key is shown in the answer that made it and never again.

import * as z from 'zod'
import * as shown from '../../contract/public/key.ts'
import * as pages from '../../contract/public/page.ts'
import { text } from '../../contract/public/text.ts'
import type { Asker } from '../auth/authenticate.ts'
import { createKey, keyOfSeed, type StoredKey, storedForm } from '../auth/key.ts'
import { obtain } from '../db/ask.ts'
import type { Item } from '../db/functions.ts'
import type { QueryItem } from '../db/queries.ts'
import { rowsOf } from '../db/query.ts'
import { endpoint } from '../endpoint.ts'
import type { Call } from '../env.ts'
import { pathId } from '../field/id.ts'
import { ipRange } from '../field/ip-range.ts'
import { limitFields } from '../field/limits.ts'
import { name } from '../field/name.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'
import { readBody } from '../field/read-body.ts'
import { moment } from '../field/time.ts'

const scopes = z.array(shown.scope).min(1).max(5)
const RANGES_MAX = 64
const OVERLAP_S_MAX = 30 * 86_400

const fields = {
  name,
  scopes,
  models: z.array(text.min(1).max(200)).min(1).max(100).nullable(),
  // Each stands once, because what was used is added up under each of them.
  tags: z
    .array(text.min(1).max(64))
    .max(16)
    .transform((tags) => [...new Set(tags)]),
  allowed_ips: z.array(ipRange).min(1).max(RANGES_MAX).nullable(),
  expires_at: moment.nullable(),
}
const change = z.strictObject({ ...fields, ...limitFields }).partial()
export const creation = change.extend({ name, scopes: scopes.default(['generate', 'usage']) })
const rotation = z.strictObject({ overlap_s: z.int().min(0).max(OVERLAP_S_MAX).default(0) })

export const creating = {
  says: 'Makes a key. It is shown in this answer and never again.',
  answer: shown.newKey,
  statuses: [201],
} as const

export const listing = { says: 'Lists the keys, the newest first.', answer: pages.pageOf(shown.key) }

/** Makes the endpoints for one key, which itself, the keys of its account that have the scope, and the operator may see. */
export function keyEndpoints<A extends Asker>() {
  return {
    retrieve: endpoint(
      {
        says: 'Shows a key; by the id `self`, or its own, the one that asks, which needs no scope for it.',
        answer: shown.key,
      },
      async (c, asker: A) => {
        const { key } = await obtain(c.env, 'read_key', { ...asker, ...named(c), self_without_scope: true }, 'allowed')
        return c.json(publicKey(key))
      },
    ),

    update: endpoint(
      { says: 'Changes what is given of a key.', body: change, answer: shown.key },
      async (c, asker: A) => {
        const item = { fields: await readBody(c, change), ...named(c), ...asker }
        const { key } = await obtain(c.env, 'update_key', item, 'allowed')
        return c.json(publicKey(key))
      },
    ),

    revoke: endpoint({ says: 'Revokes a key: it is refused from now on.', answer: shown.key }, async (c, asker: A) => {
      const { key } = await obtain(c.env, 'revoke_key', { ...asker, ...named(c) }, 'revoked')
      return c.json(publicKey(key))
    }),

    rotate: endpoint(
      {
        says: 'Makes a key that replaces another, which ends after an overlap. A key needs no scope to replace itself, by the id `self` or its own.',
        body: rotation,
        answer: shown.newKey,
        statuses: [201],
      },
      async (c, asker: A) => {
        const { overlap_s } = await readBody(c, rotation)
        const item = { ...asker, ...named(c), self_without_scope: true as const, overlap_s }
        const { secret, stored } = await newSecret(c)
        const { key } = await obtain(c.env, 'rotate_key', { ...item, ...stored }, 'created')
        return c.json({ ...publicKey(key), key: secret }, 201)
      },
    ),
  }
}

/** The key in the path: by its id, or `self` for the one that asks. */
function named(c: Call): { key_id: string | null } {
  return { key_id: c.req.param('id') === 'self' ? null : pathId(c) }
}

/** An item of `create_key` that has no secret yet. */
type NewKey = WithoutSecret<Item<'create_key'>>
type WithoutSecret<I> = I extends unknown ? Omit<I, keyof StoredKey> : never

export async function createdKey(c: Call, item: NewKey): Promise<Response> {
  const { secret, stored } = await newSecret(c)
  const { key } = await obtain(c.env, 'create_key', { ...item, ...stored }, 'created')
  return c.json({ ...publicKey(key), key: secret }, 201)
}

export async function listedKeys(c: Call, page: QueryItem<'list_keys'>): Promise<Response> {
  const keys = await rowsOf(c.env, 'list_keys', page)
  const data = keys.map((key) => publicKey(publicRow(key)))
  return c.json(pageOf(data, page.limit, ({ id }) => id))
}

/** A key, and what is stored of it; the same one where the call is repeated. */
async function newSecret(c: Call): Promise<{ secret: string; stored: StoredKey }> {
  const { seed } = c.var.operation
  const secret = seed === null ? createKey() : await keyOfSeed(seed)
  return { secret, stored: await storedForm(secret) }
}

function publicKey(key: Omit<shown.Key, 'object'>): shown.Key {
  return { object: 'key', ...key }
}
