// Who asks. Malformed keys end here; whether a well-formed key of an account is known, valid and has the scope, the database call decides
// that comes anyway (admit, or a read), so that authentication costs no call of its own. Operators are few: theirs is asked about first.

import type { Role } from '../../contract/public/operator.ts'
import { ask } from '../db/ask.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'
import { isWellFormed, isWellFormedOperatorKey, sha256Hex } from './key.ts'

/** Who asks, as the database is asked about them: the key by its hash, and from where. */
export interface Caller {
  key_hash: string
  address: string | null
  /** This gateway has a refusal for accounts that are suspended. */
  knows_suspension: true
}

export interface Operator {
  operator: true
  /** Who it is, for the log of what they change. */
  by: {
    operator_id: string | null // null: the key that the deployment was given
    key_id: string | null
    name: string
    address: string | null
    request_id: string
  }
}

/** An account sees its own, the operator everybody's. */
export type Asker = Caller | Operator

export async function identify(c: Call): Promise<Caller> {
  const key_hash = await authenticate(c.req.raw)
  c.set('key_hash', key_hash)
  return { key_hash, address: c.get('address'), knows_suspension: true }
}

/** The hash of the caller's key, which Anthropic's clients send as `x-api-key`; the key itself goes no further. */
export async function authenticate(request: Request): Promise<string> {
  const key = bearer(request) ?? request.headers.get('x-api-key')
  if (!key || !isWellFormed(key)) throw new ApiError('invalid_api_key')
  return sha256Hex(key)
}

/** The operator whose key this is, where their role is enough for what the route needs. */
export async function identifyOperator(c: Call, needed: Role | null): Promise<Operator> {
  const { role, ...who } = await operatorOf(c)
  c.set('role', role)
  if (!mayDo(role, needed)) throw new ApiError('missing_role', { message: `This needs the role ${needed ?? 'owner'}.` })
  return { operator: true, by: { ...who, address: c.get('address'), request_id: c.get('request_id') } }
}

/** Everybody may read, and an owner do everything. */
export function mayDo(role: Role | null, needed: Role | null): boolean {
  return role === 'owner' || (role !== null && (needed === 'read' || role === needed))
}

type Known = Pick<Operator['by'], 'operator_id' | 'key_id' | 'name'> & { role: Role }

async function operatorOf(c: Call): Promise<Known> {
  const key = bearer(c.req.raw)
  if (key && (await isSame(key, c.env.ADMIN_KEY)))
    return { operator_id: null, key_id: null, name: 'ADMIN_KEY', role: 'owner' }
  if (!key || !isWellFormedOperatorKey(key)) throw new ApiError('invalid_api_key')
  const answer = await ask(c.env, 'identify_operator', { key_hash: await sha256Hex(key) })
  if (answer.decision !== 'allowed') throw new ApiError('invalid_api_key')
  const { operator_id, key_id, name, role } = answer
  return { operator_id, key_id, name, role }
}

/** Whoever watches: a token that opens the metrics and nothing else. Without one nobody is let in. */
export async function identifyMonitor(c: Call): Promise<null> {
  const { METRICS_TOKEN } = c.env
  const token = bearer(c.req.raw)
  if (!METRICS_TOKEN || !token || !(await isSame(token, METRICS_TOKEN))) throw new ApiError('invalid_api_key')
  return null
}

/** The hash of what was given as a key, whatever it is: a name for it in the memory of the sieve. */
export async function givenHash(request: Request): Promise<string> {
  return sha256Hex(bearer(request) ?? '')
}

/** Both sides are hashed first, so that a comparison tells nothing about the key. */
async function isSame(given: string, expected: string): Promise<boolean> {
  const [a, b] = await Promise.all([sha256Hex(given), sha256Hex(expected)])
  return a === b
}

function bearer(request: Request): string | null {
  return /^Bearer +([\x21-\x7e]{1,200})$/i.exec(request.headers.get('authorization') ?? '')?.[1] ?? null
}
