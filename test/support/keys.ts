// The keys of tests: what their gateways sign tickets with, and what their nodes sign reports with.

import { randomBytes } from 'node:crypto'
import { type Signer, signer } from '../../contract/ed25519.ts'
import { type Claim, type Ticket, type TicketIssuer, ticketIssuer } from '../../contract/internal/ticket.ts'

export const TICKET_SEED = Buffer.alloc(32, 't').toString('base64url')
export const OTHER_SEED = Buffer.alloc(32, 'o').toString('base64url')

/** Signs as the gateway does. */
export const issuer: TicketIssuer = await ticketIssuer([TICKET_SEED])
export const ticketSigner: Signer = await signer(TICKET_SEED)
/** Signs tickets that no gateway of ours did. */
export const otherSigner: Signer = await signer(OTHER_SEED)

export const NODE_KEY = Buffer.alloc(32, 'n').toString('base64url')
export const nodeSigner: Signer = await signer(NODE_KEY)

export function newSigner(): Promise<Signer> {
  return signer(newSeed())
}

export function newSeed(): string {
  return randomBytes(32).toString('base64url')
}

/** A ticket that the gateway signed, signed again with changes. */
export async function reissued(signed: string, changes: Partial<Ticket & Claim>, by = issuer): Promise<string> {
  const opened = await issuer.open(signed)
  if (!opened) throw new Error('the ticket is not of this gateway')
  const { account_id, key_id, price_version, reserved_nanousd, issued_unix_ms, ...ticket } = { ...opened, ...changes }
  return by.issue(ticket, { account_id, key_id, price_version, reserved_nanousd, issued_unix_ms })
}
