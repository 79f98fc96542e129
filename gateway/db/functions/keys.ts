// Keys, as a key of the account or the operator asks about them.

import * as z from 'zod'
import * as shown from '../../../contract/public/key.ts'
import { limits } from '../../../contract/public/limits.ts'
import { count, id, moment } from '../../../contract/public/scalar.ts'
import { asked, keyHash, keyRefusals } from './asker.ts'

const key = shown.key.omit({ object: true })

const fields = {
  name: z.string(),
  scopes: z.array(shown.scope),
  models: z.array(z.string()).nullable(),
  tags: z.array(z.string()),
  allowed_ips: z.array(z.string()).nullable(),
  expires_at: z.string().nullable(),
  ...limits.shape,
}

/** A new key as it is stored. */
const stored = { hash: keyHash, prefix: z.string(), last_four: z.string() }

const optional = z.strictObject(fields).partial()

const refusedFor = { param: z.string() } // the field

export const create_key = {
  item: asked({ ...optional.shape, name: z.string(), ...stored }, { account_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), key_id: id, key }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'unknown_account', 'too_many_keys']) }),
    z.strictObject({ decision: z.enum(['exceeds_own_key', 'limits_are_shared']), ...refusedFor }),
  ]),
}

/** A key of the asker's account; null is the asker itself. */
const named = { key_id: id.nullable() }

/** The asker needs no scope where it asks about itself. */
const open_to_itself = { ...named, self_without_scope: z.literal(true).optional() }

const refused = z.strictObject({ decision: z.enum([...keyRefusals, 'not_found']), key: z.null() })

export const read_key = {
  item: asked(open_to_itself, {}),
  answer: z.discriminatedUnion('decision', [z.strictObject({ decision: z.literal('allowed'), key }), refused]),
}

export const update_key = {
  item: asked({ ...named, fields: optional }, {}),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), key }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found', 'already_revoked']) }),
    z.strictObject({ decision: z.literal('exceeds_own_key'), ...refusedFor }),
  ]),
}

export const rotate_key = {
  item: asked({ ...open_to_itself, overlap_s: count, ...stored }, {}),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), key }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found', 'already_revoked', 'rotation_running']) }),
    z.strictObject({ decision: z.literal('exceeds_own_key'), ...refusedFor }),
  ]),
}

export const revoke_key = {
  item: asked(named, {}),
  answer: z.discriminatedUnion('decision', [z.strictObject({ decision: z.literal('revoked'), key }), refused]),
}

/** Whether a key is known at all. */
export const find_key = {
  item: z.strictObject({ key_hash: keyHash }),
  answer: z.strictObject({ decision: z.enum(['known', 'unknown']) }),
}

export const leak_key = {
  item: z.strictObject({ key_hash: keyHash }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('revoked'), key_id: id, revoked_at: moment }),
    z.strictObject({ decision: z.literal('unknown_key') }),
  ]),
}
