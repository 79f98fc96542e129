// GET /admin/reconcile: runs a pass and tells what does not agree, account by account; `?anew=true` reads every entry again.
// GET /metrics: what the last passes found, and more, for Prometheus, which comes with a token for that alone.

import * as z from 'zod'
import { type Reconciliation, reconciliation } from '../../../contract/public/reconciliation.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { ledgerHealth, reconcile } from '../../billing/reconcile.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { readQuery } from '../../field/query.ts'
import { goneCount } from '../../gone-clients.ts'
import { refusals } from '../../limits/refusals.ts'
import { ledgerStatus } from '../ledger-status.ts'

const NODE_REFUSALS_MAX = 10_000

const query = z.object({ anew: z.string().optional() })

export const reconcileNow = endpoint(
  { says: 'Runs a pass over the ledger and tells what does not agree.', query, answer: reconciliation },
  async (c, _: Operator) => {
    await reconcile(c.env, readQuery(c, query).anew === 'true')
    const health = await ledgerHealth(c.env, true)
    return c.json({ object: 'reconciliation', status: ledgerStatus(health), ...health } satisfies Reconciliation)
  },
)

export const metrics = endpoint(
  { says: 'What the last passes found, and more, for Prometheus.', answer: null, also: { 'text/plain': null } },
  async (c, _: null) => {
    const [health, node_refusals] = await Promise.all([
      ledgerHealth(c.env),
      rowsOf(c.env, 'list_node_refusals', { limit: NODE_REFUSALS_MAX }),
    ])
    const checks = Object.entries(health.checks)
    const lines = [
      ...gauge('gateway_ledger_drift_nanousd', 'How far the ledger and what it should add up to are apart.', [
        ...checks.map(([check, { drift_nanousd }]): Sample => [`{check="${check}"}`, drift_nanousd]),
      ]),
      ...gauge('gateway_ledger_findings', 'What does not agree in the ledger.', [
        ...checks.map(([check, { findings }]): Sample => [`{check="${check}"}`, findings]),
      ]),
      ...gauge('gateway_ledger_checked_age_seconds', 'Since the last complete pass.', [
        ['', health.checked_s_ago ?? 'NaN'],
      ]),
      ...gauge('gateway_journals_behind', 'Nodes that have to tell their last day again.', [
        ['', health.journals_behind],
      ]),
      ...gauge('gateway_ledger_unread_entries', 'Booked, and not reconciled yet.', [['', health.unread_entries]]),
      ...gauge('gateway_holds_pending', 'Open reservations.', [['', health.pending_count]]),
      ...gauge('gateway_unsettled_age_seconds', 'Age of the oldest open reservation.', [['', health.pending_s_max]]),
      ...gauge('gateway_anomalies', 'What should not have happened and was charged to nobody.', [
        ...Object.entries(health.anomalies).map(([kind, count]): Sample => [`{kind="${kind}"}`, count]),
      ]),
      ...gauge(
        'gateway_node_refusals',
        'Reports and records of nodes that were refused; without a node: of none of ours.',
        [
          ...node_refusals.map(
            ({ node_id, reason, count }): Sample => [`{node="${node_id}",reason="${reason}"}`, count],
          ),
        ],
      ),
      ...gauge('gateway_refusals', 'Refusals by code since this isolate began.', [
        ...Array.from(refusals, ([code, count]): Sample => [`{code="${code}"}`, count]),
      ]),
      ...gauge('gateway_clients_gone', 'Clients that left before they were answered, of this process.', [
        ['', goneCount()],
      ]),
    ]
    return new Response(`${lines.join('\n')}\n`, {
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    })
  },
)

type Sample = [labels: string, value: string | number]

function gauge(name: string, help: string, samples: Sample[]): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} gauge`,
    ...samples.map(([labels, value]) => `${name}${labels} ${value}`),
  ]
}
