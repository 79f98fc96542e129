// Who asks. Malformed keys end here; whether a well-formed one is known, valid and has the scope, the database call decides
// that comes anyway (admit, or a read), so that authentication costs no call of its own.

import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'
import { isWellFormed, sha256Hex } from './key.ts'

/** Who asks, as the database is asked about them: the key by its hash, and from where. */
export interface Caller {
  key_hash: string
  address: string | null
}

export interface Operator {
  operator: true
}

/** An account sees its own, the operator everybody's. */
export type Asker = Caller | Operator

export async function identify(c: Call): Promise<Caller> {
  const key_hash = await authenticate(c.req.raw)
  c.set('key_hash', key_hash)
  return { key_hash, address: c.get('address') }
}

/** The hash of the caller's key; the key itself goes no further. */
export async function authenticate(request: Request): Promise<string> {
  const key = bearer(request)
  if (!key || !isWellFormed(key)) throw new ApiError('invalid_api_key')
  return sha256Hex(key)
}

/** Both sides are hashed first, so that a comparison tells nothing about the key. */
export async function identifyOperator(c: Call): Promise<Operator> {
  const [given, expected] = await Promise.all([sha256Hex(bearer(c.req.raw) ?? ''), sha256Hex(c.env.ADMIN_KEY)])
  if (given !== expected) throw new ApiError('invalid_api_key')
  return { operator: true }
}

function bearer(request: Request): string | null {
  return /^Bearer +([\x21-\x7e]{1,200})$/i.exec(request.headers.get('authorization') ?? '')?.[1] ?? null
}
