// The public half of what receipts are signed with, and the signature that names it.

import * as z from 'zod'

export const receiptSignature = z.strictObject({
  alg: z.literal('EdDSA'),
  kid: z.string(),
  value: z.string(), // base64url
})

/** A public key as JWK (RFC 8037). */
export const receiptKey = z.strictObject({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string(),
  kid: z.string(),
  alg: z.literal('EdDSA'),
  use: z.literal('sig'),
  // Nothing was signed with it before or after, in Unix seconds; the one in use has no end.
  nbf: z.number().exactOptional(),
  exp: z.number().exactOptional(),
})

/** A JWK Set. */
export const receiptKeySet = z.strictObject({ keys: z.array(receiptKey) })

export type ReceiptSignature = z.infer<typeof receiptSignature>
export type ReceiptKey = z.infer<typeof receiptKey>
