// The client on a socket, with what the node's settings say of all clients.

import type { HttpBindings } from '@hono/node-server'
import { Client, type ClientOptions } from './client.ts'

export type Outgoing = HttpBindings['outgoing']

export interface ClientsOptions {
  config: Pick<ClientOptions, 'keep_alive_ms' | 'buffer_bytes_max' | 'slow_ms_max'>
  answers: Set<Outgoing> // begun and not yet taken by their readers
}

export function openClient(
  { config: { keep_alive_ms, buffer_bytes_max, slow_ms_max }, answers }: ClientsOptions,
  outgoing: Outgoing,
  own: Pick<ClientOptions, 'content_type' | 'streams' | 'on_gone' | 'on_slow'>,
): Client {
  answers.add(outgoing)
  const leave = () => answers.delete(outgoing)
  outgoing.on('close', leave)
  if (outgoing.destroyed) leave() // it left before anyone listened
  return new Client(outgoing, { ...own, keep_alive_ms, buffer_bytes_max, slow_ms_max })
}
