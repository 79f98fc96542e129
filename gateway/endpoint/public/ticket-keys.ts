// GET /.well-known/ticket-keys.json: the public keys that tickets are signed with, for whoever sets a node up. A node that runs learns
// of new ones by the answers to its reports.

import { ticketKeySet } from '../../../contract/public/ticket-key.ts'
import { endpoint } from '../../endpoint.ts'
import { ticketIssuerOf } from '../../ticket-issuer.ts'

export const ticketKeys = endpoint(
  { says: 'Lists the public keys that tickets for nodes are signed with, the one in use first.', answer: ticketKeySet },
  async (c) => c.json({ keys: (await ticketIssuerOf(c.env)).keys }, 200, { 'cache-control': 'no-store' }),
)
