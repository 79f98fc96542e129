// What can be done with keys, by a key of the account with the scope `keys` or by the operator: they are made, listed, changed, rotated
// and revoked. A key is shown in the answer that made it and never again.

import ipaddr from 'ipaddr.js'
import * as z from 'zod'
import type * as contract from '../../contract/public/key.ts'
import type { Asker } from '../auth/authenticate.ts'
import { createKey, keyOfSeed, storedForm } from '../auth/key.ts'
import { ask } from '../billing/ledger.ts'
import type { QueryItem } from '../db/queries.ts'
import { query } from '../db/query.ts'
import type { Call } from '../env.ts'
import { pathId } from '../field/id.ts'
import { limitFields } from '../field/limits.ts'
import { pageOf } from '../field/page.ts'
import { publicRow } from '../field/public-row.ts'
import { readBody } from '../field/read-body.ts'
import { name, text } from '../field/text.ts'
import { moment } from '../field/time.ts'

const scopes = z
  .array(z.enum(['generate', 'usage', 'keys', 'webhooks', 'admin']))
  .min(1)
  .max(5)
const RANGES_MAX = 64
const OVERLAP_S_MAX = 30 * 86_400

// An address or a range of either kind, written as Postgres writes it: IPv4 is never mapped, and no bit is set below the prefix.
const ipRange = z
  .string()
  .max(100)
  .refine((value) => ipaddr.isValidCIDR(value) || ipaddr.isValid(value), {
    error: 'expected an IP address or a CIDR range',
  })
  .transform((value) => (ipaddr.isValidCIDR(value) || ipaddr.isValid(value) ? canonicalRange(value) : value))

const fields = {
  name,
  scopes,
  models: z.array(text.min(1).max(200)).min(1).max(100).nullable(),
  // Each stands once, because what was used is added up under each of them.
  tags: z
    .array(text.min(1).max(64))
    .max(16)
    .transform((tags) => [...new Set(tags)]),
  allowed_ips: z.array(ipRange).min(1).max(RANGES_MAX).nullable(),
  expires_at: moment.nullable(),
}
const change = z.strictObject({ ...fields, ...limitFields }).partial()
export const creation = change.extend({ name, scopes: scopes.default(['generate', 'usage']) })
const rotation = z.strictObject({ overlap_s: z.int().min(0).max(OVERLAP_S_MAX).default(0) })

type Key = Omit<contract.Key, 'object'>

/** The endpoints for the keys that an asker may see: its account's, or for the operator all. */
export function keyEndpoints<A extends Asker>(own: {
  creation: z.ZodType<object>
  page: (c: Call, asker: A) => Promise<QueryItem<'list_keys'>>
}) {
  return {
    create: async (c: Call, asker: A): Promise<Response> =>
      made(c, 'create_key', { ...(await readBody(c, own.creation)), ...asker }),

    list: async (c: Call, asker: A): Promise<Response> => {
      const page = await own.page(c, asker)
      const keys = await query(c.env, 'list_keys', page)
      const shown = keys.map((key) => publicKey(publicRow(key)))
      return c.json(pageOf(shown, page.limit, ({ id }) => id))
    },

    retrieve: async (c: Call, asker: A): Promise<Response> =>
      shown(c, await ask<{ key: Key }>(c.env, 'read_key', { ...asker, key_id: pathId(c) })),

    update: async (c: Call, asker: A): Promise<Response> => {
      const item = { fields: await readBody(c, change), key_id: pathId(c), ...asker }
      return shown(c, await ask<{ key: Key }>(c.env, 'update_key', item))
    },

    revoke: async (c: Call, asker: A): Promise<Response> =>
      shown(c, await ask<{ key: Key }>(c.env, 'revoke_key', { ...asker, key_id: pathId(c) }, 'revoked')),

    rotate: async (c: Call, asker: A): Promise<Response> => {
      const { overlap_s } = await readBody(c, rotation)
      return made(c, 'rotate_key', { ...asker, key_id: pathId(c), overlap_s })
    },
  }
}

async function made(c: Call, name: string, item: Asker & { key_id?: string; overlap_s?: number }): Promise<Response> {
  const { seed } = c.var.operation
  const secret = seed === null ? createKey() : await keyOfSeed(seed)
  const { key } = await ask<{ key: Key }>(c.env, name, { ...item, ...(await storedForm(secret)) }, 'created')
  return c.json({ ...publicKey(key), key: secret }, 201)
}

function shown(c: Call, { key }: { key: Key }): Response {
  return c.json(publicKey(key))
}

function publicKey(key: Key): contract.Key {
  return { object: 'key', ...key }
}

function canonicalRange(value: string): string {
  const [address, prefix] = ipaddr.isValidCIDR(value) ? ipaddr.parseCIDR(value) : [ipaddr.parse(value), null]
  const plain = ipaddr.process(address.toString())
  const bits = plain.kind() === 'ipv4' ? 32 : 128
  const mapped_bits = plain.kind() === address.kind() ? 0 : 96
  const kept = prefix === null ? bits : Math.max(0, prefix - mapped_bits)
  const bytes = plain.toByteArray().map((byte, i) => byte & ~(0xff >> Math.max(0, Math.min(8, kept - 8 * i))))
  return `${plain.kind() === 'ipv4' ? bytes.join('.') : groups(bytes)}/${kept}`
}

function groups(bytes: number[]): string {
  return Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16)).join(':')
}
