// POST /admin/keys: creates a key, shown in this answer and never again. DELETE /admin/keys/{id}: revokes one, for good.

import { z } from 'zod'
import { authenticateAdmin } from '../auth/authenticate.ts'
import { createKey, storedForm } from '../auth/key.ts'
import { askTeller, type Decided } from '../db/ask-teller.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'
import { readBody } from '../read-body.ts'
import { rowId } from './row-id-field.ts'

const body = z.strictObject({
  account_id: rowId,
  name: z.string().min(1).max(200),
  scopes: z
    .array(z.enum(['generate', 'usage']))
    .min(1)
    .default(['generate', 'usage']),
  models: z.array(z.string().min(1).max(200)).min(1).nullable().default(null),
  expires_at: z.iso.datetime().nullable().default(null),
})

export async function createApiKey(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  const fields = await readBody(c.req.raw, body as z.ZodType<z.infer<typeof body>>)
  const key = createKey()
  const item = { ...fields, ...(await storedForm(key)) }
  const [answer] = await askTeller<Decided & { key_id: string }>(c.env, 'create_key', {
    shard_by: 'admin',
    items: [item],
  })
  if (answer!.decision !== 'created') throw new ApiError('not_found', { param: 'account_id' })
  return c.json({ object: 'key', id: answer!.key_id, key, ...fields }, 201)
}

export async function revokeApiKey(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  const key_id = rowId.safeParse(c.req.param('id'))
  if (!key_id.success) throw new ApiError('not_found')
  const items = [{ key_id: key_id.data }]
  const [answer] = await askTeller<Decided & { revoked_at: string }>(c.env, 'revoke_key', { shard_by: 'admin', items })
  if (answer!.decision !== 'revoked') throw new ApiError('not_found')
  return c.json({ object: 'key', id: key_id.data, revoked_at: answer!.revoked_at })
}
