// The SQL functions that the gateway may call: a row each, with what decides how the teller carries a call. The item and the answer
// stand in functions/, as schemas whose types these rows and `ask` take; a row without them does not compile, nor they without it.

import type * as z from 'zod'
import type * as schemas from './functions/schemas.ts'

export type FunctionName = keyof typeof schemas

export type Item<N extends FunctionName> = z.infer<(typeof schemas)[N]['item']>

/** A union that `decision` tells apart. */
export type Answer<N extends FunctionName> = z.infer<(typeof schemas)[N]['answer']>

export type Decision<N extends FunctionName> = Answer<N>['decision']

export type Call = { [N in FunctionName]: { name: N; item: Item<N> } }[FunctionName]

/** A connection each, so that none of these waits for another (teller.ts). */
export type LaneName =
  | 'admit'
  | 'settle'
  | 'give_back'
  | 'result'
  | 'change'
  | 'read'
  | 'list'
  | 'background'
  | 'job'
  | 'webhook'

interface Row<N extends FunctionName> {
  lane: LaneName
  /** What the teller's shard follows from: one account's calls meet in one place, travel together, and wait in turn with others'. */
  shard: string | ((item: Item<N>) => string)
  /** Asked until it is answered, though its caller gave up: what was sent may still commit, and has to be undone then. */
  must_end?: true
  /** Asked in the place of an item that got no answer in time, and may have been done. */
  unknown?: (item: Item<N>, is_wanted: boolean) => Call
  /** What has to follow an answer that came too late for its caller. */
  late?: (item: Item<N>, answer: Answer<N>) => Call | null
}

const byAsker = (item: { key_hash: string } | { operator: true }) => ('key_hash' in item ? item.key_hash : 'admin')
const byKey = (item: { key_hash: string }) => item.key_hash
const byAccount = (item: { account_id: string }) => item.account_id
const byJob = (item: { job_id: string }) => item.job_id
const byPayment = (item: { payment: string }) => item.payment
const byReporter = (item: Item<'settle'>) => ('node' in item ? item.node.node_id : item.account_id)

export const functions: { readonly [N in FunctionName]: Row<N> } = {
  // One that got no answer in time is not asked for again, but found, and undone where nobody waits for it.
  admit: { lane: 'admit', shard: byKey, unknown: resolution, late: giveBack },
  // Money that is given back is, also where the client has its 503 already.
  resolve_admission: { lane: 'give_back', shard: byKey, must_end: true, late: giveBack },
  void: { lane: 'give_back', shard: byAccount, must_end: true },
  fence: { lane: 'give_back', shard: byAccount },

  settle: { lane: 'settle', shard: byReporter },
  keep_unsettled: { lane: 'settle', shard: ({ node_id }) => node_id },

  hear_node: { lane: 'settle', shard: ({ node_id }) => node_id },
  create_node: { lane: 'change', shard: 'admin' },
  update_node: { lane: 'change', shard: 'admin' },
  rotate_node_key: { lane: 'change', shard: 'admin' },
  remove_node: { lane: 'change', shard: 'admin' },

  create_adapter: { lane: 'change', shard: 'admin' },
  remove_adapter: { lane: 'change', shard: 'admin' },
  read_adapters: { lane: 'read', shard: 'admin' },

  claim_request: { lane: 'change', shard: byAsker },
  release_request: { lane: 'change', shard: byAccount },
  keep_result: { lane: 'result', shard: byAccount },
  read_result: { lane: 'result', shard: byAccount },
  keep_response: { lane: 'result', shard: byAccount },
  read_responses: { lane: 'result', shard: byKey },
  list_chats: { lane: 'list', shard: byKey },
  update_chat: { lane: 'change', shard: byKey },
  delete_response: { lane: 'change', shard: byKey },

  begin_file: { lane: 'change', shard: byKey },
  write_part: { lane: 'change', shard: byAccount },
  finish_file: { lane: 'change', shard: byAccount },
  abandon_file: { lane: 'change', shard: byAccount },
  read_file: { lane: 'read', shard: byKey },
  delete_file: { lane: 'change', shard: byKey },
  due_parts: { lane: 'background', shard: 'expire' },
  forget_parts: { lane: 'background', shard: 'expire' },

  create_job: { lane: 'change', shard: byKey },
  take_job: { lane: 'job', shard: ({ node_id }) => node_id },
  keep_job_chunk: { lane: 'job', shard: byJob },
  end_job: { lane: 'job', shard: ({ node_id }) => node_id },
  return_job: { lane: 'job', shard: ({ node_id }) => node_id },
  read_job: { lane: 'read', shard: byKey },
  follow_job: { lane: 'job', shard: byJob },
  cancel_job: { lane: 'change', shard: byKey },

  create_batch: { lane: 'change', shard: byKey },
  read_batch: { lane: 'read', shard: byKey },
  cancel_batch: { lane: 'change', shard: byKey },
  list_batches: { lane: 'list', shard: byKey },
  claim_batch: { lane: 'job', shard: 'batches' },
  note_lines: { lane: 'job', shard: 'batches' },
  note_offers: { lane: 'job', shard: 'batches' },
  note_results: { lane: 'job', shard: 'batches' },
  forget_batches: { lane: 'background', shard: 'expire' },

  create_key: { lane: 'change', shard: byAsker },
  read_key: { lane: 'read', shard: byAsker },
  update_key: { lane: 'change', shard: byAsker },
  rotate_key: { lane: 'change', shard: byAsker },
  revoke_key: { lane: 'change', shard: byAsker },
  find_key: { lane: 'read', shard: byKey },
  leak_key: { lane: 'change', shard: byKey },

  find_nodes: { lane: 'read', shard: byKey },
  estimate: { lane: 'read', shard: byKey },

  create_account: { lane: 'change', shard: 'admin' },
  find_account: { lane: 'read', shard: byAsker },
  read_account: { lane: 'read', shard: byAsker },
  update_account: { lane: 'change', shard: byAsker },
  read_billing: { lane: 'read', shard: byAsker },
  update_billing: { lane: 'change', shard: byAsker },
  suspend_account: { lane: 'change', shard: 'admin' },
  resume_account: { lane: 'change', shard: 'admin' },
  read_balance: { lane: 'read', shard: byAsker },

  read_usage: { lane: 'read', shard: byAsker },
  list_usage: { lane: 'list', shard: byAsker },

  read_catalog: { lane: 'read', shard: 'catalog' },
  publish_catalog: { lane: 'change', shard: 'admin' },

  read_prices: { lane: 'read', shard: byAsker },
  publish_price: { lane: 'change', shard: 'admin' },

  top_up: { lane: 'change', shard: 'admin' },
  give_grant: { lane: 'change', shard: 'admin' },
  refund: { lane: 'change', shard: 'admin' },
  adjust: { lane: 'change', shard: 'admin' },

  read_invoice: { lane: 'list', shard: byAsker },
  read_credit_note: { lane: 'list', shard: byAsker },
  read_buyer_data: { lane: 'read', shard: byAsker },
  update_buyer_data: { lane: 'change', shard: 'admin' },
  read_seller: { lane: 'read', shard: 'admin' },
  set_seller: { lane: 'change', shard: 'admin' },

  read_buyer: { lane: 'read', shard: byAsker },
  link_stripe_customer: { lane: 'change', shard: byAccount },
  stripe_payment: { lane: 'change', shard: byPayment },
  stripe_reversal: { lane: 'change', shard: byPayment },

  identify_operator: { lane: 'read', shard: 'admin' },
  create_operator: { lane: 'change', shard: 'admin' },
  update_operator: { lane: 'change', shard: 'admin' },
  end_operator: { lane: 'change', shard: 'admin' },
  create_operator_key: { lane: 'change', shard: 'admin' },
  rotate_operator_key: { lane: 'change', shard: 'admin' },
  revoke_operator_key: { lane: 'change', shard: 'admin' },

  note_receipt_key: { lane: 'change', shard: 'receipt-keys' },
  list_receipt_keys: { lane: 'read', shard: 'receipt-keys' },
  health: { lane: 'read', shard: 'health' },

  expire: { lane: 'background', shard: 'expire' },
  expire_due_grants: { lane: 'background', shard: 'expire' },
  forget_requests: { lane: 'background', shard: 'expire' },
  forget_responses: { lane: 'background', shard: 'expire' },
  tend_jobs: { lane: 'background', shard: 'expire' },
  add_usage_months: { lane: 'background', shard: 'expire' },
  cut_invoices: { lane: 'background', shard: 'invoices' },
  sum_invoices: { lane: 'background', shard: 'invoices' },
  collect_metering: { lane: 'background', shard: 'stripe' },
  claim_meter_events: { lane: 'background', shard: 'stripe' },
  note_meter_event: { lane: 'background', shard: 'stripe' },
  due_meter_days: { lane: 'background', shard: 'stripe' },
  reconcile_meter_day: { lane: 'background', shard: 'stripe' },
  reconcile: { lane: 'background', shard: 'reconcile' },
  ledger_health: { lane: 'background', shard: 'reconcile' },

  create_webhook_endpoint: { lane: 'change', shard: byKey },
  read_webhook_endpoint: { lane: 'read', shard: byKey },
  update_webhook_endpoint: { lane: 'change', shard: byKey },
  delete_webhook_endpoint: { lane: 'change', shard: byKey },
  rotate_webhook_secret: { lane: 'change', shard: byKey },
  resend_webhook_delivery: { lane: 'change', shard: byKey },
  recover_webhook_deliveries: { lane: 'list', shard: byKey },
  read_notifications: { lane: 'read', shard: 'admin' },
  update_notifications: { lane: 'change', shard: 'admin' },
  list_sealed_secrets: { lane: 'webhook', shard: 'webhooks' },
  reseal_secret: { lane: 'webhook', shard: 'webhooks' },
  claim_deliveries: { lane: 'webhook', shard: 'webhooks' },
  note_attempt: { lane: 'webhook', shard: 'webhooks' },
  note_expiring_keys: { lane: 'background', shard: 'expire' },
  forget_events: { lane: 'background', shard: 'expire' },
}

/** Whose calls these are: the name of their shard, and of the party that they wait as. */
export function shardName<N extends FunctionName>(name: N, item: Item<N>): string {
  const { shard } = functions[name]
  return typeof shard === 'string' ? shard : shard(item)
}

/** What is asked in the place of an item whose outcome is not known, if it may not be asked again itself. */
export function inPlaceOf<N extends FunctionName>(name: N, item: Item<N>, is_wanted: boolean): Call | null {
  return functions[name].unknown?.(item, is_wanted) ?? null
}

/** What has to follow an answer that came too late for its caller, if anything. */
export function followUp<N extends FunctionName>(name: N, item: Item<N>, answer: Answer<N>): Call | null {
  return functions[name].late?.(item, answer) ?? null
}

function resolution({ request_id, key_hash, model, verify }: Item<'admit'>, is_wanted: boolean): Call {
  return { name: 'resolve_admission', item: { request_id, key_hash, model, is_wanted, verify } }
}

/** An admission that came too late for its caller holds money for nobody. */
function giveBack(
  { request_id, model }: Pick<Item<'admit'>, 'request_id' | 'model'>,
  answer: Answer<'admit'> | Answer<'resolve_admission'>,
): Call | null {
  if (answer.decision !== 'admitted') return null
  const { account_id, key_id, price_version, reserved_nanousd } = answer
  const item = { request_id, account_id, attempt: 1, key_id, model, price_version, reserved_nanousd }
  return { name: 'void', item }
}
