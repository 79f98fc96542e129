// Refusals that somebody gets who tries what is not theirs. Each is counted, for the metrics; and of each kind the first in a minute is
// logged, by route, address and key, so that a flood of them writes no flood of lines. This isolate alone knows.

import { routePath } from 'hono/route'
import type { Call } from '../env.ts'
import type { ErrorCode } from '../error.ts'

const NOTED = new Set<ErrorCode>([
  'invalid_api_key',
  'missing_scope',
  'missing_role',
  'address_not_allowed',
  'account_suspended',
  'exceeds_own_key',
  'model_not_allowed',
  'not_found',
  'idempotency_mismatch',
  'invalid_signature',
  'too_many_failures',
  'too_many_requests',
])
const MINUTE_MS = 60_000
const LINES_MAX = 100 // a minute

/** How often each code was answered since this isolate began. */
export const refusals = new Map<ErrorCode, number>()

let logged = new Set<string>()
let began_ms = 0
let unlogged = 0

export function noteRefusal(c: Call, code: ErrorCode): void {
  if (!NOTED.has(code)) return
  refusals.set(code, (refusals.get(code) ?? 0) + 1)
  if (Date.now() - began_ms >= MINUTE_MS) beginMinute()
  const line = `refused: ${code} ${c.req.method} ${routePath(c, -1)} from ${c.get('address') ?? 'unknown'}${askerOf(c)}`
  if (logged.has(line)) return
  if (logged.size >= LINES_MAX) unlogged += 1
  else {
    logged.add(line)
    console.warn(line)
  }
}

function beginMinute(): void {
  if (unlogged > 0) console.warn(`refused: ${unlogged} kinds more in the minute before`)
  logged = new Set()
  unlogged = 0
  began_ms = Date.now()
}

/** The beginning of the key's hash finds its row in the database, and opens nothing. */
function askerOf(c: Call): string {
  const [key_hash, role] = [c.get('key_hash'), c.get('role')]
  if (key_hash) return ` by the key of hash ${key_hash.slice(0, 12)}`
  return role ? ` by an operator of the role ${role}` : ''
}
