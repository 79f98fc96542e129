// /admin/operator-keys: the keys that operators come with. One is shown in the answer that made it and never again. An operator rotates the
// key it came with; those of others are an owner's affair.

import * as z from 'zod'
import * as shown from '../../../contract/public/operator.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { operatorKey, type StoredKey, storedForm } from '../../auth/key.ts'
import { obtain } from '../../db/ask.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { pathId, rowId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { moment } from '../../field/time.ts'

const OVERLAP_S_MAX = 30 * 86_400

const expires_at = moment.nullable().default(null)
const creation = z.strictObject({ operator_id: rowId, expires_at })
const rotation = z.strictObject({ overlap_s: z.int().min(0).max(OVERLAP_S_MAX).default(0), expires_at })
const query = pageQuery({ operator_id: rowId })

export const createOperatorKey = endpoint(
  {
    says: 'Makes a key of an operator. It is shown in this answer and never again.',
    body: creation,
    answer: shown.newOperatorKey,
    statuses: [201],
  },
  async (c, asker: Operator) => {
    const wanted = await readBody(c, creation)
    const { secret, stored } = await newSecret(c)
    const { key } = await obtain(c.env, 'create_operator_key', { ...asker, ...wanted, ...stored }, 'created')
    return c.json({ ...publicKey(key), key: secret }, 201)
  },
)

export const listOperatorKeys = endpoint(
  { says: 'Lists the keys of an operator, the newest first.', query, answer: pages.pageOf(shown.operatorKey) },
  async (c, _: Operator) => {
    const wanted = readQuery(c, query)
    const keys = await rowsOf(c.env, 'list_operator_keys', wanted)
    const data = keys.map((key) => publicKey(publicRow(key)))
    return c.json(pageOf(data, wanted.limit, ({ id }) => id))
  },
)

const rotating = {
  says: 'Makes a key that replaces another, which ends after an overlap.',
  body: rotation,
  answer: shown.newOperatorKey,
  statuses: [201],
} as const

export const rotateOperatorKey = endpoint(rotating, async (c, asker: Operator) => rotated(c, asker, pathId(c)))

export const rotateOwnKey = endpoint(
  { ...rotating, says: 'Makes a key that replaces the one it is asked with.' },
  async (c, asker: Operator) => {
    const { key_id } = asker.by
    if (key_id === null)
      throw new ApiError('not_found', {
        message: 'The key that the deployment was given is changed there (ADMIN_KEY).',
      })
    return rotated(c, asker, key_id)
  },
)

export const revokeOperatorKey = endpoint(
  { says: 'Revokes a key of an operator: it is refused from now on.', answer: shown.operatorKey },
  async (c, asker: Operator) => {
    const { key } = await obtain(c.env, 'revoke_operator_key', { ...asker, key_id: pathId(c) }, 'revoked')
    return c.json(publicKey(key))
  },
)

async function rotated(c: Call, asker: Operator, key_id: string): Promise<Response> {
  const wanted = await readBody(c, rotation)
  const { secret, stored } = await newSecret(c)
  const { key } = await obtain(c.env, 'rotate_operator_key', { ...asker, ...wanted, ...stored, key_id }, 'created')
  return c.json({ ...publicKey(key), key: secret }, 201)
}

/** A key, and what is stored of it; the same one where the call is repeated. */
async function newSecret(c: Call): Promise<{ secret: string; stored: StoredKey }> {
  const secret = await operatorKey(c.var.operation.seed)
  return { secret, stored: await storedForm(secret) }
}

function publicKey(key: Omit<shown.OperatorKey, 'object'>): shown.OperatorKey {
  return { object: 'operator_key', ...key }
}
