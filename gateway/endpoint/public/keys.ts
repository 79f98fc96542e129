// /v1/keys and /admin/keys: made, listed, changed, rotated and revoked, by a key of the account with the scope `keys` or by the
// operator. A key is shown in the answer that made it and never again. POST /v1/keys/leak needs nothing but the key itself.

import ipaddr from 'ipaddr.js'
import * as z from 'zod'
import { authenticateAdmin, type Caller, identify } from '../../auth/authenticate.ts'
import { createKey, keyOfSeed, storedForm } from '../../auth/key.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { text } from '../../field/generation.ts'
import { limitFields } from '../../field/limits.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readBody } from '../../field/read-body.ts'
import { rowId } from '../../field/row-id.ts'
import { moment } from '../../field/time.ts'

const scopes = z
  .array(z.enum(['generate', 'usage', 'keys', 'webhooks', 'admin']))
  .min(1)
  .max(5)
const RANGES_MAX = 64
const OVERLAP_S_MAX = 30 * 86_400

// Addresses and ranges of both kinds, as Postgres writes them: IPv4 never mapped, no bit set below the prefix.
const ipRange = z
  .string()
  .max(100)
  .refine((value) => ipaddr.isValidCIDR(value) || ipaddr.isValid(value), {
    error: 'expected an IP address or a CIDR range',
  })
  .transform((value) => (ipaddr.isValidCIDR(value) || ipaddr.isValid(value) ? canonicalRange(value) : value))

const fields = {
  name: text.min(1).max(200),
  scopes,
  models: z.array(text.min(1).max(200)).min(1).max(100).nullable(),
  // Each once: what was used is added up under each of them.
  tags: z
    .array(text.min(1).max(64))
    .max(16)
    .transform((tags) => [...new Set(tags)]),
  allowed_ips: z.array(ipRange).min(1).max(RANGES_MAX).nullable(),
  expires_at: moment.nullable(),
}
const optional = z.strictObject({ ...fields, ...limitFields }).partial()
const creation = optional.extend({ name: fields.name, scopes: scopes.default(['generate', 'usage']) })
const operatorsCreation = creation.extend({ account_id: rowId })
const rotation = z.strictObject({ overlap_s: z.int().min(0).max(OVERLAP_S_MAX).default(0) })

interface Key {
  id: string
}

type Asker = Caller | { operator: true }

/** The endpoints for the keys that an asker may see: its account's, or for the operator all. */
function endpointsFor(whoAsks: (c: Call) => Promise<Asker>, own: { creation: z.ZodType; query: z.ZodRawShape }) {
  return {
    create: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const body = (await readBody(c.req.raw, own.creation)) as object
      return made(c, 'create_key', { ...body, ...asker })
    },

    list: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const query = pageQuery(c.req.query(), own.query)
      const { keys } = await ask<{ keys: Key[] }>(c.env, 'list_keys', { ...query, ...asker })
      return c.json(pageOf(keys.map(withObject), query.limit))
    },

    retrieve: async (c: Call): Promise<Response> => {
      const item = { ...(await whoAsks(c)), key_id: keyId(c) }
      return shown(c, await ask<{ key: Key }>(c.env, 'read_key', item))
    },

    update: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const item = { fields: await readBody(c.req.raw, optional as z.ZodType<object>), key_id: keyId(c), ...asker }
      return shown(c, await ask<{ key: Key }>(c.env, 'update_key', item))
    },

    revoke: async (c: Call): Promise<Response> => {
      const item = { ...(await whoAsks(c)), key_id: keyId(c) }
      return shown(c, await ask<{ key: Key }>(c.env, 'revoke_key', item, 'revoked'))
    },

    rotate: async (c: Call): Promise<Response> => {
      const asker = await whoAsks(c)
      const { overlap_s } = await readBody(c.req.raw, rotation as z.ZodType<z.infer<typeof rotation>>)
      return made(c, 'rotate_key', { ...asker, key_id: keyId(c), overlap_s })
    },
  }
}

export const ownKeys = endpointsFor(identify, { creation, query: {} })
export const operatorsKeys = endpointsFor(operator, { creation: operatorsCreation, query: { account_id: rowId } })

export async function leakKey(c: Call): Promise<Response> {
  const { key_hash } = await identify(c)
  const { key_id, revoked_at } = await ask<{ key_id: string; revoked_at: string }>(
    c.env,
    'leak_key',
    { key_hash },
    'revoked',
  )
  return c.json({ object: 'key', id: key_id, revoked_at })
}

async function operator(c: Call): Promise<{ operator: true }> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return { operator: true }
}

async function made(c: Call, name: string, item: Asker & { key_id?: string; overlap_s?: number }): Promise<Response> {
  const { seed } = c.var.operation
  const secret = seed === null ? createKey() : await keyOfSeed(seed)
  const { key } = await ask<{ key: Key }>(c.env, name, { ...item, ...(await storedForm(secret)) }, 'created')
  return c.json({ ...withObject(key), key: secret }, 201)
}

function shown(c: Call, { key }: { key: Key }): Response {
  return c.json(withObject(key))
}

function withObject(key: Key) {
  return { object: 'key', ...key }
}

/** The id in the path; one that is no id names nothing. */
function keyId(c: Call): string {
  const id = rowId.safeParse(c.req.param('id'))
  if (!id.success) throw new ApiError('not_found')
  return id.data
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
