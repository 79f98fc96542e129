// Who may read /metrics: this machine, and whoever shows the metrics token. The node secret does not do, for it signs
// tickets: what only watches should not be able to spend. A request that a proxy passed on comes from elsewhere, whatever its socket says.

import type { HttpBindings } from '@hono/node-server'
import type { Context, MiddlewareHandler } from 'hono'
import { bearerAuth } from 'hono/bearer-auth'
import ipaddr from 'ipaddr.js'

const PROXY_HEADERS = ['forwarded', 'via', 'x-forwarded-for', 'x-real-ip', 'cf-connecting-ip']

export function guardMetrics(token: string | undefined): MiddlewareHandler<{ Bindings: HttpBindings }> {
  const guard = token === undefined ? null : bearerAuth({ token })
  return async (c, next) => {
    const { socket, headers } = c.env.incoming
    const passed_on = PROXY_HEADERS.some((name) => headers[name] !== undefined)
    if (isLoopback(socket.remoteAddress) && !passed_on) return next()
    return guard ? guard(c as unknown as Context, next) : c.notFound()
  }
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && ipaddr.process(address).range() === 'loopback'
}
