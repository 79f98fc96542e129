// The public half of what tickets are signed with.

import * as z from 'zod'

export const ticketKey = z.strictObject({ kid: z.string(), x: z.string() }) // x: Ed25519, base64url

export const ticketKeySet = z.strictObject({ keys: z.array(ticketKey) })
