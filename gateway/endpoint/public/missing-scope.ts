// A key that lacks the scope for what it asks is told which one, and which it has.

import type { Scope } from '../../../contract/public/key.ts'
import { ask } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'

/** Runs what a key with this scope may do; a refusal for want of it names it. */
export async function namingScopes(c: Call, scope: Scope | null, run: () => Promise<Response>): Promise<Response> {
  try {
    return await run()
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'missing_scope' || scope === null) throw error
    throw new ApiError('missing_scope', { message: `This needs a key with the scope ${scope}.${await scopesOf(c)}` })
  }
}

/** The scopes of the key that asks; nothing where they cannot be read now. */
async function scopesOf(c: Call): Promise<string> {
  const itself = {
    key_hash: c.get('key_hash')!,
    address: c.get('address'),
    key_id: null,
    self_without_scope: true as const,
  }
  const found = await ask(c.env, 'read_key', itself).catch(() => null)
  return found?.decision === 'allowed' ? ` This one has ${found.key.scopes.join(', ')}.` : ''
}
