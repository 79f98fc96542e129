// A route: a path, who may come in, and what happens there by method. One that names nobody, or lets others than operators under /admin
// or others than keys under /v1, does not compile; nor does an endpoint of operators that names no role.

import type { Scope } from '../contract/public/key.ts'
import type { Role } from '../contract/public/operator.ts'
import type { Description, Endpoint, Handler } from './endpoint.ts'
import type { Call } from './env.ts'
import type { Guard, Who } from './guard.ts'
import { type Claimant, once } from './limits/idempotency.ts'
import { answerAgain, repeatableCall } from './limits/repeatable-call.ts'

const METHODS = ['GET', 'POST', 'PATCH', 'DELETE'] as const
export type Method = (typeof METHODS)[number]

export interface Route {
  path: string
  who: Who
  scope: Scope | null
  tells: boolean
  methods: Served[]
}

export interface Served {
  method: Method
  description: Description
  takes_idempotency_key: boolean
  /** That an operator needs; null where none asks. */
  role: Role | null
  carry: (c: Call) => Promise<Response>
}

type GuardedPath<P extends string, W extends Who> = P extends `/admin/${string}`
  ? W extends 'operator'
    ? P
    : never
  : P extends `/v1/${string}`
    ? W extends 'key'
      ? P
      : never
    : P

interface Options {
  /** Who sees to it that a POST with an Idempotency-Key is done once: the route, the endpoint itself, or nobody where it is the same however often. */
  once_by?: 'route' | 'endpoint' | 'nature'
  /** What is done there may be an event for somebody, who is sent it at once. */
  tells?: boolean
}

/** An endpoint of operators, and the role that it needs. */
export interface OfRole<A> extends Endpoint<A> {
  role: Role
}

export function needs<A>(role: Role, endpoint: Endpoint<A>): OfRole<A> {
  return { ...endpoint, role }
}

type EndpointFor<W extends Who, A> = W extends 'operator' ? OfRole<A> : Endpoint<A> & { role?: never }

export function route<P extends string, W extends Who, A>(
  path: P & GuardedPath<P, W>,
  guard: Guard<W, A>,
  endpoints: Partial<Record<Method, EndpointFor<W, A>>>,
  { once_by = 'route', tells = false }: Options = {},
): Route {
  const methods = METHODS.flatMap((method): Served[] => {
    const declared = endpoints[method]
    if (!declared) return []
    const { handle, role = null, ...description } = declared as Endpoint<A> & { role?: Role }
    const is_claimed = method === 'POST' && once_by === 'route' && guard.claimant !== undefined
    const run = is_claimed ? doOnce(handle, guard.claimant!) : handle
    const takes_idempotency_key = is_claimed || once_by === 'endpoint'
    const carry = async (c: Call) => run(c, await guard.enter(c, role))
    return [{ method, description, takes_idempotency_key, role, carry }]
  })
  return { path, who: guard.who, scope: guard.scope, tells, methods }
}

/** A POST is done once for an Idempotency-Key; a key without the guard's scope is shown no result that was kept for another. */
function doOnce<A>(handle: Handler<A>, claimant: (asker: A) => Claimant['asker']): Handler<A> {
  return async (c, asker) => {
    const call = await repeatableCall(c)
    if (!call) return handle(c, asker)
    const claiming = claimant(asker)
    const claim = { request_id: c.var.request_id, key_hash: ownerOf(claiming), asker: claiming }
    const answer = await once(call, claim, (operation) => {
      if (operation) c.set('operation', operation)
      return handle(c, asker)
    })
    return answer instanceof Response ? answer : answerAgain(c, answer)
  }
}

/** Whose a kept result is: a key's, or one operator's; null is the deployment's own key. */
function ownerOf(asker: Claimant['asker']): string | null {
  if ('key_hash' in asker) return asker.key_hash
  return asker.by?.operator_id ? `operator ${asker.by.operator_id}` : null
}
