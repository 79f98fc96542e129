// A route: a path, who may come in, and what happens there by method. One that names nobody, or lets others than the operator under
// /admin or others than keys under /v1, does not compile.

import type { Call } from './env.ts'
import type { Guard, Scope, Who } from './guard.ts'
import { once } from './limits/idempotency.ts'
import { answerAgain, repeatableCall } from './limits/repeatable-call.ts'

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'

/** An endpoint is told who asks, or what they signed. */
export type Handler<A> = (c: Call, asker: A) => Promise<Response>

export interface Route {
  path: string
  who: Who
  scope: Scope | null
  methods: { method: Method; carry: (c: Call) => Promise<Response> }[]
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
  /** False where the endpoint itself sees to it that what is repeated is done once. */
  is_once?: boolean
}

export function route<P extends string, W extends Who, A>(
  path: P & GuardedPath<P, W>,
  guard: Guard<W, A>,
  handlers: Partial<Record<Method, Handler<A>>>,
  { is_once = true }: Options = {},
): Route {
  const methods = (Object.keys(handlers) as Method[]).map((method) => {
    const handler = handlers[method]!
    const run = method === 'POST' && is_once ? doOnce(guard, handler) : handler
    return { method, carry: async (c: Call) => run(c, await guard.enter(c)) }
  })
  return { path, who: guard.who, scope: guard.scope, methods }
}

/** A POST is done once for an Idempotency-Key; a key without the guard's scope is shown no result that was kept for another. */
function doOnce<A>(guard: Guard<Who, A>, handler: Handler<A>): Handler<A> {
  return async (c, asker) => {
    const call = await repeatableCall(c)
    if (!call) return handler(c, asker)
    const claimant = Object.assign({}, asker, guard.scope && { scope: guard.scope })
    const answer = await once(
      call,
      { request_id: c.var.request_id, asker: claimant, key_hash: c.var.key_hash },
      (operation) => {
        if (operation) c.set('operation', operation)
        return handler(c, asker)
      },
    )
    return answer instanceof Response ? answer : answerAgain(c, answer)
  }
}
