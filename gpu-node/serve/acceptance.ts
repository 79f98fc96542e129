// A generation is taken in: its ticket and its body pass the door, it is held to its constraint, there is room for it, and the journal has
// it before it starts. Who asks by HTTP and what runs as a job come in here.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Ticket } from '../../contract/internal/ticket.ts'
import type { Generation } from '../answer/generation.ts'
import type { Journal } from '../meter/journal.ts'
import { Refusal } from '../refusal.ts'
import type { HeldConstraint, Runner } from '../run/runner.ts'
import { acceptBody, acceptRequest, acceptTicket, type DoorSettings, parseRequest } from './door.ts'
import type { Streams } from './streams.ts'
import type { Turns } from './turns.ts'

export interface AcceptanceOptions {
  config: { node_id: string; model_id: string }
  ticket_keys: DoorSettings['ticket_keys']
  runner: Pick<Runner, 'hasRoomFor' | 'hold' | 'prepare' | 'load' | 'format' | 'verifies'>
  journal: Journal
  turns: Turns
  resumables: { endOneHeld(): boolean }
  state: { draining: boolean; engine_failed: boolean }
}

export interface Accepted {
  generation: Generation
  ticket: Ticket
  request: GenerateRequest
}

/** Where it is taken in, `start` is called. */
export async function accept(
  options: AcceptanceOptions,
  { ticket_text, bytes }: { ticket_text: string | undefined; bytes: () => Promise<Uint8Array> },
  start: (accepted: Accepted) => void,
): Promise<void> {
  const { state, turns, config, ticket_keys } = options
  refuseUnlessServing(state)
  const ticket = await acceptTicket(ticket_text, { ...config, ticket_keys })
  const body = acceptBody(await bytes(), ticket)
  await turns.take(ticket.cache_salt)
  const request = parseRequest(body)
  refuseUnlessVerified(options.runner, request)
  const held = await holdConstraint(options, request, ticket.cache_salt)
  const formatted = { ...request, prompts: await options.runner.format(request.prompts) }
  // From here to the start nothing is awaited: one ticket, one start; what has room now has it then.
  refuseUnlessServing(state)
  refuseUnlessRoom(options, request)
  const generation = acceptRequest(formatted, { ticket, text: ticket_text!, held }, options.runner)
  takeIn(options, { ticket, text: ticket_text!, ledger_id: request.ledger_id })
  start({ generation, ticket, request })
}

export function refuseUnlessServing(state: AcceptanceOptions['state']): void {
  if (state.engine_failed) throw new Refusal('engine_failed', 'The engine of this node has failed.')
  if (state.draining) throw new Refusal('draining', 'This node is shutting down.')
}

// Whatever verifies nothing would answer the request as if it had asked for nothing.
function refuseUnlessVerified({ verifies = [] }: AcceptanceOptions['runner'], { verify }: GenerateRequest): void {
  if (!verify || verifies.includes(verify.language)) return
  throw new Refusal('unsupported', `What serves this model does not verify ${verify.language}.`, {
    param: 'verify.language',
  })
}

// This comes before its prompt is read: what is refused should cost little.
function refuseUnlessRoom({ runner, resumables }: AcceptanceOptions, { prompts, n, verify }: GenerateRequest): void {
  do if (runner.hasRoomFor(prompts.length * (verify?.candidates ?? n))) return
  while (resumables.endOneHeld())
  throw new Refusal('overloaded', 'The queue is full.', { retry_after_s: runner.load.queue_s })
}

// It may take a while, so that room is looked for before and after.
async function holdConstraint(
  options: AcceptanceOptions,
  request: GenerateRequest,
  account: string,
): Promise<HeldConstraint | null> {
  if (!request.constraint) return null
  refuseUnlessServing(options.state)
  refuseUnlessRoom(options, request)
  return options.runner.hold(request.constraint, account)
}

function takeIn(
  { journal }: AcceptanceOptions,
  { ticket, text, ledger_id }: { ticket: Ticket; text: string; ledger_id: string | undefined },
): void {
  const { request_id, attempt, duration_ms_max } = ticket
  if (journal.wasUsed(request_id, attempt)) throw new Refusal('bad_ticket', 'The ticket was already used.')
  if (!journal.accept({ ticket: text, request_id, attempt, ledger_id, duration_ms_max })) {
    throw new Refusal('no_room', 'The journal of this node has no room.')
  }
}

const TIMER_MS_MAX = 2 ** 31 - 1 // setTimeout takes a longer time for none at all

/** Ends it at its ticket's deadline, where the timer is not cleared before. */
export function endInTime(streams: Streams, generation: Generation, { duration_ms_max }: Ticket): NodeJS.Timeout {
  return setTimeout(() => streams.stop(generation, 'deadline'), Math.min(duration_ms_max, TIMER_MS_MAX))
}
