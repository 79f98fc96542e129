// Every read that the gateway makes by drizzle: its name, its item, its rows. Queries run inside the teller, which is asked by name and
// item, so that no SQL crosses the RPC.

import { listAccounts } from './queries/accounts.ts'
import { listAnomalies } from './queries/anomalies.ts'
import { listEntries } from './queries/entries.ts'
import { listFiles } from './queries/files.ts'
import { listCreditNotes, listInvoices } from './queries/invoices.ts'
import { listKeys } from './queries/keys.ts'
import { listNodeRefusals, listNodes } from './queries/nodes.ts'
import { listAudit, listOperatorKeys, listOperators } from './queries/operators.ts'
import { listPrices } from './queries/prices.ts'
import { findFullMetadata, sumUsage } from './queries/usage.ts'
import { listEvents, listWebhookDeliveries, listWebhookEndpoints } from './queries/webhooks.ts'

export const queries = {
  find_full_metadata: findFullMetadata,
  list_accounts: listAccounts,
  list_anomalies: listAnomalies,
  list_audit: listAudit,
  list_credit_notes: listCreditNotes,
  list_entries: listEntries,
  list_events: listEvents,
  list_files: listFiles,
  list_invoices: listInvoices,
  list_keys: listKeys,
  list_node_refusals: listNodeRefusals,
  list_nodes: listNodes,
  list_operator_keys: listOperatorKeys,
  list_operators: listOperators,
  list_prices: listPrices,
  list_webhook_deliveries: listWebhookDeliveries,
  list_webhook_endpoints: listWebhookEndpoints,
  sum_usage: sumUsage,
}

export type QueryName = keyof typeof queries
export type QueryItem<N extends QueryName> = Parameters<(typeof queries)[N]>[1]
export type QueryRow<N extends QueryName> = Awaited<ReturnType<(typeof queries)[N]>>[number]

/** The rows, in order; or why there are none. */
export type QueryAnswer<N extends QueryName> =
  | QueryRow<N>[]
  | 'busy'
  | 'unavailable'
  | 'limited'
  | { decision: 'failed' }
