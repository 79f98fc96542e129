// Tells where a request comes from. At Cloudflare the edge says it in a header that no client can set; workerd by itself knows the
// socket's, and then a header would be the client's own word.

import ipaddr from 'ipaddr.js'

/** One spelling for each address, an IPv4 one never as a mapped IPv6 one; null where nobody knows. */
export function clientAddress(request: Request): string | null {
  const socket = (request as { cf?: { clientIp?: string } }).cf?.clientIp
  const address = socket === undefined ? request.headers.get('cf-connecting-ip') : withoutPort(socket)
  return address && ipaddr.isValid(address) ? ipaddr.process(address).toString() : null
}

function withoutPort(socket: string): string {
  return /^\[(.+)\]:\d+$/.exec(socket)?.[1] ?? socket.replace(/^([^:]+):\d+$/, '$1')
}
