// Files: begun, written part by part, read, and forgotten.

import * as z from 'zod'
import * as shown from '../../../contract/public/file.ts'
import { count, id, moment, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals } from './asker.ts'

const file = z.strictObject({
  id,
  purpose: shown.filePurpose,
  filename: z.string(),
  bytes: count,
  created_at: moment,
  expires_at: moment,
})

const refusals = [...keyRefusals, 'not_found'] as const
const named = { account_id: id, file_id: id }
const part = z.strictObject({ id: uuid, bytes: count })
const closed = z.strictObject({ decision: z.literal('file_closed') })

export const begin_file = {
  item: z.strictObject({ ...caller, created_by: uuid, bytes_max: count, account_bytes_max: count, part_id: uuid }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('begun'), ...named }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'too_many_files', 'too_many_uploads', 'no_room_for_file']) }),
  ]),
}

export const write_part = {
  item: z.strictObject({ ...named, part, next_id: uuid }),
  answer: z.discriminatedUnion('decision', [z.strictObject({ decision: z.literal('written') }), closed]),
}

export const finish_file = {
  item: z.strictObject({
    ...named,
    part,
    filename: z.string(),
    purpose: shown.filePurpose,
    expires_after_s: z.int(),
  }),
  answer: z.discriminatedUnion('decision', [z.strictObject({ decision: z.literal('finished'), file }), closed]),
}

export const abandon_file = {
  item: z.strictObject(named),
  answer: z.strictObject({ decision: z.literal('abandoned') }),
}

export const read_file = {
  item: z.strictObject({ ...caller, file_id: id, with_parts: z.literal(true).optional() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      account_id: id,
      file,
      parts: z.array(z.strictObject({ id: uuid, begins_at: count, bytes: count })).optional(),
    }),
    z.strictObject({ decision: z.enum(refusals) }),
  ]),
}

export const delete_file = {
  item: z.strictObject({ ...caller, file_id: id }),
  answer: z.strictObject({ decision: z.enum([...refusals, 'deleted', 'file_in_use']) }),
}

export const due_parts = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('due'), part_ids: z.array(uuid), count }),
}

export const forget_parts = {
  item: z.strictObject({ part_ids: z.array(uuid) }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}
