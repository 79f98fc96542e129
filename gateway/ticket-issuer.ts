// What signs tickets: the deployment's seeds, of which no node and no database has any. The first one signs; the others are about to or
// did, and what they signed is taken.

import { type TicketIssuer, ticketIssuer } from '../contract/internal/ticket.ts'
import type { Env } from './env.ts'

let issuer: Promise<TicketIssuer> | null = null

export function ticketIssuerOf(env: Env): Promise<TicketIssuer> {
  issuer ??= ticketIssuer(env.TICKET_SEEDS.split(','))
  return issuer
}
