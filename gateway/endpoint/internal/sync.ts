// POST /internal/sync: a node reports itself and its journal. Who it is follows from the key that signed the report, which an operator
// registered; every record carries the ticket it was generated under. Answers what became of each record; what could not be decided now
// is to be sent again. The answer is signed, for a node forgets what it says is settled.

import * as z from 'zod'
import {
  ADAPTERS_MAX,
  type JournalPosition,
  SYNC_RECORDS_MAX,
  SYNC_RUNNING_MAX,
  type SyncRequest,
  type SyncResponse,
  type UsageRecord,
} from '../../../contract/internal/sync.ts'
import type { OpenedTicket, TicketIssuer } from '../../../contract/internal/ticket.ts'
import { text } from '../../../contract/public/text.ts'
import { type Counted, furthest, hearNode, keepUnsettled, settle } from '../../billing/ledger.ts'
import { endpoint } from '../../endpoint.ts'
import type { Env } from '../../env.ts'
import { nodeId, nodeModel, nodeUrl } from '../../field/node.ts'
import { condition, ended, journalPosition, TICKET_LENGTH_MAX } from '../../field/report.ts'
import type { SignedReport } from '../../guard.ts'
import { ticketIssuerOf } from '../../ticket-issuer.ts'
import { SELDOM_MS, sendSoon } from '../../webhook/kick.ts'
import { parsedReport, signedAnswer } from './signed-report.ts'

const UNIX_MS_MAX = 1e14 // in a few thousand years

const report: z.ZodType<SyncRequest> = z.object({
  node: z.object({
    node_id: nodeId,
    url: nodeUrl,
    model: nodeModel,
    adapters: z.array(nodeModel).max(ADAPTERS_MAX).optional(),
    ...condition,
  }),
  boot: z.object({ id: z.guid(), folder_id: z.guid(), number: z.int().min(0) }),
  sequence: z.int().min(0),
  sent_unix_ms: z.int().min(0).max(UNIX_MS_MAX),
  running_ids: z.array(z.guid()).max(SYNC_RUNNING_MAX),
  records: z
    .array(
      z.object({
        ticket: text.max(TICKET_LENGTH_MAX),
        request_id: z.guid(),
        attempt: z.int().min(1),
        ledger_id: z.guid().optional(),
        ...ended,
      }),
    )
    .max(SYNC_RECORDS_MAX),
  journal: journalPosition.exactOptional(),
  job_slots: z.int().min(0).max(10_000).optional(),
})

export const internalSync = endpoint(
  { says: 'Takes a node’s report.', body: report, answer: null },
  async (c, signed: SignedReport) => {
    const { node, boot, sequence, sent_unix_ms, running_ids, records, journal, job_slots } = parsedReport(
      signed,
      report,
    )
    const heard = await hearNode(c.env, {
      report_id: c.get('request_id'),
      key: signed.key,
      adapters: [],
      ...node,
      boot_id: boot.id,
      folder_id: boot.folder_id,
      boot_number: boot.number,
      sequence,
      sent_unix_ms,
      running_ids,
      journal,
      job_slots,
    })
    const issuer = await ticketIssuerOf(c.env)
    const { settled, counted } = await settleRecords(c.env, issuer, { node_id: node.node_id, journal, records })
    if (settled.length > 0) sendSoon(c, SELDOM_MS) // a limit that was reached
    const mark = furthest([...(heard.journal ? [heard.journal] : []), ...counted])
    const body = JSON.stringify({
      ...{ settled, stop: heard.stop, ledger_id: heard.ledger_id, ticket_keys: issuer.keys },
      ...(mark && { journal: mark }),
      jobs: heard.jobs,
    } satisfies SyncResponse)
    return signedAnswer(c.env, signed, body)
  },
)

interface Reported {
  node_id: string
  journal: JournalPosition | undefined
  records: UsageRecord[]
}

async function settleRecords(
  env: Env,
  issuer: TicketIssuer,
  { node_id, journal, records }: Reported,
): Promise<{ settled: SyncResponse['settled']; counted: Counted[] }> {
  const tickets = await Promise.all(records.map((record) => ticketOf(record, issuer)))
  const settlements = records.flatMap((record, i) => {
    const ticket = tickets[i]
    return ticket?.node_id === node_id ? [{ record, ticket }] : []
  })
  const { outcomes, counted } = await settle(env, { node_id, journal }, settlements)
  const made = new Map(settlements.map(({ record }, i) => [record, outcomes[i]!]))
  const settled = await Promise.all(
    records.map(async (record, i) => {
      const { request_id, attempt } = record
      const kind = tickets[i] ? 'other_node' : 'bad_ticket'
      const outcome = made.get(record) ?? (await keepUnsettled(env, node_id, { kind, record }))
      return { request_id, attempt, outcome }
    }),
  )
  return { settled, counted }
}

/** The record's ticket, where it is ours and was given for this very attempt. */
async function ticketOf(record: UsageRecord, issuer: TicketIssuer): Promise<OpenedTicket | null> {
  const ticket = await issuer.open(record.ticket)
  return ticket?.request_id === record.request_id && ticket.attempt === record.attempt ? ticket : null
}
