// A stream goes on that was asked with an Idempotency-Key and has lost its client. The node that runs it has all that it said, and one of
// the model's nodes is that node: all are asked. From there on it is the same answer as before, kept and billed as one.

import type { Resumption } from '../../contract/internal/question.ts'
import type { LiveNode, RunningStream } from '../billing/ledger.ts'
import { askToResume } from '../engine/ask.ts'
import { type Call, settingsOf } from '../env.ts'
import { ticketIssuerOf } from '../ticket-issuer.ts'
import { GRACE_MS, passOn } from './relay.ts'

// For clocks that differ, as a ticket's time is.
const RESUMPTION_MS_MAX = 60_000

/** The stream from its first event on; null where no node has it, or its client reads it and is not to be cut off. */
export async function resume(
  c: Call,
  { request_id, attempt, nodes }: RunningStream,
  { takes_over }: { takes_over: boolean },
): Promise<Response | null> {
  const body = JSON.stringify({ request_id, attempt, takes_over } satisfies Resumption)
  const asked = nodes.map((node) => askOne(c, node, body))
  const answer = await Promise.any(asked).catch(() => null)
  if (!answer) return null
  c.set('request_id', request_id)
  const passed = passOn(c, answer)
  passed.headers.set('idempotency-replayed', 'true')
  return passed
}

async function askOne(c: Call, node: LiveNode, body: string): Promise<Response> {
  const issuer = await ticketIssuerOf(c.env)
  const signature = await issuer.signQuestion({
    node_id: node.id,
    expires_unix_ms: Date.now() + RESUMPTION_MS_MAX,
    body,
  })
  const ms_max = settingsOf(c.env).generation_ms_max + GRACE_MS
  const answer = await askToResume(node.url, { signature, body, client: c.req.raw.signal, ms_max })
  if (!answer) throw new Error(`${node.id} does not have the stream`)
  return answer
}

/** The answer without what comes before an event: comments are none. */
export function eventsFrom(answer: Response, first: number): Response {
  if (first === 0 || !answer.body || answer.status !== 200) return answer
  const decoder = new TextDecoder()
  const encoder = new TextEncoder()
  let event = 0
  let unread = ''
  const skipping = new TransformStream<Uint8Array, Uint8Array>({
    transform(part, controller) {
      const blocks = (unread + decoder.decode(part, { stream: true })).split(/(?<=\n\n)/)
      unread = blocks.at(-1)!.endsWith('\n\n') ? '' : blocks.pop()!
      const rest = blocks.filter((block) => block.startsWith(':') || event++ >= first).join('')
      if (rest !== '') controller.enqueue(encoder.encode(rest))
    },
    flush(controller) {
      if (event >= first) controller.enqueue(encoder.encode(unread))
    },
  })
  return new Response(answer.body.pipeThrough(skipping), answer)
}
