// POST /internal/sync: a node reports itself and its journal. Signed over the raw body; every record carries the ticket it was
// generated under. Answers what became of each record; what could not be decided now is to be sent again.

import * as z from 'zod'
import {
  SYNC_RECORDS_MAX,
  type SyncRequest,
  type SyncResponse,
  type UsageRecord,
} from '../../../contract/internal/sync.ts'
import { type Ticket, verifyTicket } from '../../../contract/internal/ticket.ts'
import { keepUnsettled, settle } from '../../billing/ledger.ts'
import { endpoint } from '../../endpoint.ts'
import type { Env } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { condition, ended } from '../../field/report.ts'

const report: z.ZodType<SyncRequest> = z.object({
  node: z.object({
    node_id: z.string().min(1).max(200),
    url: z.url({ protocol: /^https?$/ }),
    model: z.string().min(1),
    ...condition,
  }),
  records: z
    .array(
      z.object({
        ticket: z.string(),
        request_id: z.guid(),
        attempt: z.int().min(1),
        ledger_id: z.guid().optional(),
        ...ended,
      }),
    )
    .max(SYNC_RECORDS_MAX),
})

export const internalSync = endpoint(
  { says: 'Takes a node’s report.', body: report, answer: null },
  async (c, text: string) => {
    const parsed = report.safeParse(JSON.parse(text))
    if (!parsed.success) throw new ApiError('invalid_value', { message: z.prettifyError(parsed.error).slice(0, 500) })
    return c.json(await settleRecords(c.env, parsed.data))
  },
)

async function settleRecords(env: Env, { node, records }: SyncRequest): Promise<SyncResponse> {
  const tickets = await Promise.all(records.map((record) => ticketOf(record, env.NODE_SECRET)))
  const settlements = records.flatMap((record, i) => (tickets[i] ? [{ record, ticket: tickets[i] }] : []))
  const { outcomes, stop, ledger_id } = await settle(env, node, settlements)
  const made = new Map(settlements.map(({ record }, i) => [record, outcomes[i]!]))
  const outcomeOf = (record: UsageRecord) =>
    made.get(record) ?? keepUnsettled(env, node, { kind: 'bad_ticket', record })
  const settled = await Promise.all(
    records.map(async (record) => {
      const { request_id, attempt } = record
      return { request_id, attempt, outcome: await outcomeOf(record) }
    }),
  )
  return { settled, stop, ledger_id }
}

/** The record's ticket, where it is ours and was given for this very attempt. */
async function ticketOf(record: UsageRecord, secret: string): Promise<Ticket | null> {
  const ticket = await verifyTicket(record.ticket, secret)
  return ticket?.request_id === record.request_id && ticket.attempt === record.attempt ? ticket : null
}
