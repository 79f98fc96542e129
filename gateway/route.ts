// A route: a path, who may come in, and what happens there by method. One that names nobody, or lets others than the operator under
// /admin or others than keys under /v1, does not compile.

import type { Scope } from '../contract/public/key.ts'
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
  methods: Served[]
}

export interface Served {
  method: Method
  description: Description
  takes_idempotency_key: boolean
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
}

export function route<P extends string, W extends Who, A>(
  path: P & GuardedPath<P, W>,
  guard: Guard<W, A>,
  endpoints: Partial<Record<Method, Endpoint<A>>>,
  { once_by = 'route' }: Options = {},
): Route {
  const methods = METHODS.flatMap((method): Served[] => {
    const declared = endpoints[method]
    if (!declared) return []
    const { handle, ...description } = declared
    const is_claimed = method === 'POST' && once_by === 'route' && guard.claimant !== undefined
    const run = is_claimed ? doOnce(handle, guard.claimant!) : handle
    const takes_idempotency_key = is_claimed || once_by === 'endpoint'
    return [{ method, description, takes_idempotency_key, carry: async (c) => run(c, await guard.enter(c)) }]
  })
  return { path, who: guard.who, scope: guard.scope, methods }
}

/** A POST is done once for an Idempotency-Key; a key without the guard's scope is shown no result that was kept for another. */
function doOnce<A>(handle: Handler<A>, claimant: (asker: A) => Claimant['asker']): Handler<A> {
  return async (c, asker) => {
    const call = await repeatableCall(c)
    if (!call) return handle(c, asker)
    const { request_id, key_hash } = c.var
    const answer = await once(call, { request_id, key_hash, asker: claimant(asker) }, (operation) => {
      if (operation) c.set('operation', operation)
      return handle(c, asker)
    })
    return answer instanceof Response ? answer : answerAgain(c, answer)
  }
}
