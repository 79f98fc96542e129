// What nodes report of themselves, and what an operator decides about them.

import * as z from 'zod'
import * as shown from '../../../contract/public/node.ts'
import { count, uuid } from '../../../contract/public/scalar.ts'
import { condition, journalCounted, journalPosition } from '../../field/report.ts'
import { operator } from './asker.ts'

const node = shown.node.omit({ object: true })

/** Who changes it; `npm start`, which registers its own node, is nobody. */
const asking = z.object(operator).partial().shape

/** Why a node's report of itself is not taken. */
const refusals = [
  'unknown_node',
  'unknown_node_key',
  'other_node_url',
  'other_node_model',
  'stale_report',
  'repeated_report',
  'second_process',
] as const

export const hear_node = {
  item: z.strictObject({
    report_id: uuid, // the gateway's: asked again by the same it is the same report
    node_id: z.string(),
    key: z.string(), // that signed it
    url: z.string(),
    model: z.string(),
    ...condition,
    boot_id: uuid,
    folder_id: uuid,
    boot_number: count,
    sequence: count,
    sent_unix_ms: z.int(),
    running_ids: z.array(uuid),
    journal: journalPosition.optional(),
    job_slots: count.optional(), // how many jobs it has room for
    adapters: z.array(z.string()).optional(), // that it serves beside its model
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('seen'),
      stop: z.array(uuid),
      ledger_id: uuid,
      journal: journalCounted.exactOptional(),
      jobs: count.exactOptional(), // that wait for it
    }),
    z.strictObject({ decision: z.enum(refusals), skew_ms: z.int() }),
  ]),
}

export const create_node = {
  item: z.strictObject({
    ...asking,
    id: z.string(),
    url: z.string(),
    model: z.string(),
    key: z.string(),
    replace: z.boolean().optional(), // one of this id that is there is changed
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), node }),
    z.strictObject({ decision: z.enum(['node_exists', 'key_taken']) }),
  ]),
}

export const update_node = {
  item: z.strictObject({
    ...asking,
    id: z.string(),
    url: z.string().optional(),
    model: z.string().optional(),
    drain: z.boolean().optional(),
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('updated'), node }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

export const rotate_node_key = {
  item: z.strictObject({ ...asking, id: z.string(), key: z.string(), overlap_s: count }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('rotated'), node }),
    z.strictObject({ decision: z.enum(['not_found', 'key_taken']) }),
  ]),
}

export const remove_node = {
  item: z.strictObject({ ...asking, id: z.string() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('removed'), node }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}
