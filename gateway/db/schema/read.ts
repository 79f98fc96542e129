// The views of the schema `read` (migrations/views/read.sql): all that a reader's login can select. Amounts of money and ids are bigints;
// counts and limits travel as JSON numbers, and are numbers here.

import { bigint, date, integer, jsonb, numeric, pgSchema, text, uuid } from 'drizzle-orm/pg-core'
import type { Anomaly } from '../../../contract/public/anomaly.ts'
import type { Billing } from '../../../contract/public/billing.ts'
import type { EntryKind } from '../../../contract/public/entry.ts'
import type { Scope } from '../../../contract/public/key.ts'
import type { Node } from '../../../contract/public/node.ts'
import type { Role } from '../../../contract/public/operator.ts'
import type { Price } from '../../../contract/public/price.ts'
import type { WebhookDelivery, WebhookEndpoint } from '../../../contract/public/webhook.ts'
import type { EventType } from '../../../contract/public/webhook-event.ts'
import { int8, moment } from './column.ts'

const read = pgSchema('read')
const count = () => bigint({ mode: 'number' })

const limits = {
  requests_per_minute: count(),
  tokens_per_minute: count(),
  requests_in_flight_max: count(),
  monthly_spend_cap_nanousd: int8(),
}

const limitsInUse = {
  requests_in_flight: count().notNull(),
  charged_this_month_nanousd: int8().notNull(),
}

export const accountsView = read
  .view('accounts', {
    id: int8().notNull(),
    name: text().notNull(),
    created_at: moment().notNull(),
    overdraft_nanousd: int8().notNull(),
    balance_nanousd: int8().notNull(),
    available_nanousd: numeric({ mode: 'bigint' }).notNull(), // may be past what a bigint of Postgres holds
    ...limits,
    ...limitsInUse,
    suspended_at: moment(),
  })
  .existing()

export const keysView = read
  .view('keys', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    name: text().notNull(),
    prefix: text().notNull(),
    last_four: text().notNull(),
    scopes: text().array().$type<Scope[]>().notNull(),
    models: text().array(), // null: every model
    tags: text().array().notNull(),
    allowed_ips: text().array(), // null: from anywhere
    ...limits,
    ...limitsInUse,
    created_at: moment().notNull(),
    last_used_at: moment(),
    expires_at: moment(),
    revoked_at: moment(),
    rotated_from: int8(),
    metered_as: int8().notNull(),
  })
  .existing()

export const pricesView = read
  .view('prices', {
    model: text().notNull(),
    version: integer().notNull(),
    account_id: int8(), // null: the list price
    input_nanousd_per_token: int8().notNull(),
    cached_input_nanousd_per_token: int8().notNull(),
    output_nanousd_per_token: int8().notNull(),
    valid_from: moment().notNull(),
    valid_until: moment(),
    service_tier: text().$type<Price['service_tier']>().notNull(),
  })
  .existing()

export const entriesView = read
  .view('entries', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    sequence: count().notNull(),
    kind: text().$type<EntryKind>().notNull(),
    amount_nanousd: int8().notNull(),
    effect_nanousd: int8().notNull(), // with the sign of what it did to the balance
    reference: text(),
    request_id: uuid(),
    created_at: moment().notNull(),
  })
  .existing()

export const invoicesView = read
  .view('invoices', {
    account_id: int8().notNull(),
    number: integer().notNull(),
    month: text().notNull(), // 2026-11
    billing_mode: text().$type<Billing['billing_mode']>().notNull(),
    opening_nanousd: int8().notNull(),
    closing_nanousd: int8().notNull(),
    due_nanousd: int8().notNull(),
    closed_at: moment().notNull(),
  })
  .existing()

export const creditNotesView = read
  .view('credit_notes', {
    account_id: int8().notNull(),
    number: integer().notNull(),
    invoice_number: integer().notNull(),
    entry_id: int8().notNull(),
    request_id: uuid(),
    model: text(),
    amount_nanousd: int8().notNull(),
    created_at: moment().notNull(),
  })
  .existing()

const usageSums = {
  request_count: int8().notNull(),
  prompt_tokens: int8().notNull(),
  cached_tokens: int8().notNull(),
  completion_tokens: int8().notNull(),
  cost_nanousd: int8().notNull(),
  refunded_nanousd: int8().notNull(),
}

export const usageByDayView = read
  .view('usage_by_day', {
    account_id: int8().notNull(),
    day: date().notNull(), // of UTC
    key_id: int8().notNull(),
    model: text().notNull(),
    ...usageSums,
  })
  .existing()

export const usageByMetadataView = read
  .view('usage_by_metadata', {
    account_id: int8().notNull(),
    name: text().notNull(),
    day: date().notNull(), // of UTC
    value: text().notNull(),
    key_id: int8().notNull(),
    model: text().notNull(),
    ...usageSums,
  })
  .existing()

export const fullMetadataView = read
  .view('full_metadata', {
    account_id: int8().notNull(),
    day: date().notNull(),
    name: text().notNull(), // '' for names beyond the most of a day
  })
  .existing()

export const keyTagsView = read
  .view('key_tags', {
    account_id: int8().notNull(),
    key_id: int8().notNull(),
    tag: text().notNull(), // '' where the key has none
  })
  .existing()

export const anomaliesView = read
  .view('anomalies', {
    id: int8().notNull(),
    created_at: moment().notNull(),
    kind: text().$type<Anomaly['kind']>().notNull(),
    request_id: uuid().notNull(),
    account_id: text(), // as it was reported
    node_id: text(),
    sqlstate: text(),
    detail: jsonb().$type<Record<string, unknown>>().notNull(),
  })
  .existing()

export const nodesView = read
  .view('nodes', {
    id: text().notNull(),
    url: text().notNull(),
    model: text().notNull(),
    public_key: text().notNull(),
    old_key_until: moment(),
    drained_at: moment(),
    created_at: moment().notNull(),
    state: text().$type<NonNullable<Node['state']>>(),
    running: integer(),
    waiting: integer(),
    last_seen_at: moment(),
    refusals: count().notNull(),
  })
  .existing()

export const nodeRefusalsView = read
  .view('node_refusals', {
    node_id: text().notNull(), // '' for those that are not registered
    reason: text().notNull(),
    count: count().notNull(),
    first_at: moment().notNull(),
    last_at: moment().notNull(),
    detail: jsonb().$type<Record<string, unknown>>().notNull(),
  })
  .existing()

export const operatorsView = read
  .view('operators', {
    id: int8().notNull(),
    name: text().notNull(),
    role: text().$type<Role>().notNull(),
    created_at: moment().notNull(),
    ended_at: moment(),
  })
  .existing()

export const operatorKeysView = read
  .view('operator_keys', {
    id: int8().notNull(),
    operator_id: int8().notNull(),
    prefix: text().notNull(),
    last_four: text().notNull(),
    created_at: moment().notNull(),
    expires_at: moment(),
    revoked_at: moment(),
    last_used_at: moment(),
    rotated_from: int8(),
  })
  .existing()

export const auditView = read
  .view('audit', {
    id: int8().notNull(),
    created_at: moment().notNull(),
    operator_id: int8(), // null: the key that the deployment was given
    operator_name: text().notNull(),
    operator_key_id: int8(),
    address: text(),
    request_id: uuid().notNull(),
    action: text().notNull(),
    account_id: int8(),
    subject: text().notNull(),
    before: jsonb().$type<Record<string, unknown>>(),
    after: jsonb().$type<Record<string, unknown>>(),
  })
  .existing()

export const webhookEndpointsView = read
  .view('webhook_endpoints', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    name: text().notNull(),
    url: text().notNull(),
    event_types: text().array().$type<EventType[]>().notNull(),
    signature_type: text().$type<WebhookEndpoint['secret_type']>().notNull(),
    hint: text(),
    public_key: text(),
    both_until: moment(),
    created_at: moment().notNull(),
    updated_at: moment().notNull(),
    disabled_at: moment(),
    disabled_reason: text().$type<WebhookEndpoint['disabled_reason']>(),
    failing_since: moment(),
  })
  .existing()

export const webhookDeliveriesView = read
  .view('webhook_deliveries', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    endpoint_id: int8().notNull(),
    state: text().$type<WebhookDelivery['state']>().notNull(),
    due_at: moment(), // null where nothing is to be sent
    attempts: jsonb().$type<WebhookDelivery['attempts']>().notNull(),
    answer: text(),
    created_at: moment().notNull(),
    event: text().notNull(),
  })
  .existing()

export const filesView = read
  .view('files', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    purpose: text().$type<'batch' | 'batch_output'>().notNull(),
    filename: text().notNull(),
    bytes: int8().notNull(),
    created_at: moment().notNull(),
    expires_at: moment().notNull(),
  })
  .existing()

export const eventsView = read
  .view('events', {
    id: int8().notNull(),
    account_id: int8().notNull(),
    type: text().$type<EventType>().notNull(),
    event: text().notNull(),
  })
  .existing()
