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

interface Row<N extends FunctionName> {
  lane?: 'admit' | 'settle'
  /** What the teller's shard follows from: one account's calls meet in one place and travel together. */
  shard: string | ((item: Item<N>) => string)
  /** Asked until it is answered, though its caller gave up: what was sent may still commit, and has to be undone then. */
  must_end?: true
  /** What has to follow an answer that came too late for its caller. */
  late?: (item: Item<N>, answer: Answer<N>) => Call | null
}

const byAsker = (item: { key_hash: string } | { operator: true }) => ('key_hash' in item ? item.key_hash : 'admin')
const byKey = (item: { key_hash: string }) => item.key_hash
const byAccount = (item: { account_id: string }) => item.account_id
const byPayment = (item: { payment: string }) => item.payment
const byWish = (item: { idempotency: { key_hash: string } }) => item.idempotency.key_hash
const byReporter = (item: Item<'settle'>) => ('node' in item ? item.node.node_id : item.account_id)

export const functions: { readonly [N in FunctionName]: Row<N> } = {
  admit: { lane: 'admit', shard: byKey, must_end: true, late: giveBack },
  fence: { shard: byAccount },
  // Money that is given back is, also where the client has its 503 already.
  void: { shard: byAccount, must_end: true },
  settle: { lane: 'settle', shard: byReporter },
  keep_unsettled: { shard: ({ node_id }) => node_id },
  expire: { shard: 'expire' },
  health: { shard: 'health' },

  hear_node: { lane: 'settle', shard: ({ node_id }) => node_id },
  create_node: { shard: 'admin' },
  update_node: { shard: 'admin' },
  rotate_node_key: { shard: 'admin' },
  remove_node: { shard: 'admin' },

  claim_request: { shard: byWish },
  keep_result: { shard: byAccount },
  release_request: { shard: byWish },
  forget_requests: { shard: 'expire' },

  create_key: { shard: byAsker },
  read_key: { shard: byAsker },
  update_key: { shard: byAsker },
  rotate_key: { shard: byAsker },
  revoke_key: { shard: byAsker },
  leak_key: { shard: byKey },

  create_account: { shard: 'admin' },
  find_account: { shard: byAsker },
  read_account: { shard: byAsker },
  update_account: { shard: byAsker },
  read_billing: { shard: byAsker },
  update_billing: { shard: byAsker },
  read_balance: { shard: byAsker },

  read_usage: { shard: byAsker },
  list_usage: { shard: byAsker },
  add_usage_months: { shard: 'expire' },

  read_prices: { shard: byAsker },
  publish_price: { shard: 'admin' },

  top_up: { shard: 'admin' },
  give_grant: { shard: 'admin' },
  refund: { shard: 'admin' },
  adjust: { shard: 'admin' },
  expire_due_grants: { shard: 'expire' },

  cut_invoices: { shard: 'invoices' },
  sum_invoices: { shard: 'invoices' },
  read_invoice: { shard: byAsker },

  read_buyer: { shard: byAsker },
  link_stripe_customer: { shard: byAccount },
  stripe_payment: { shard: byPayment },
  stripe_reversal: { shard: byPayment },
  collect_metering: { shard: 'stripe' },
  claim_meter_events: { shard: 'stripe' },
  note_meter_event: { shard: 'stripe' },
  due_meter_days: { shard: 'stripe' },
  reconcile_meter_day: { shard: 'stripe' },

  reconcile: { shard: 'reconcile' },
  ledger_health: { shard: 'reconcile' },

  note_receipt_key: { shard: 'receipt-keys' },
  list_receipt_keys: { shard: 'receipt-keys' },
}

/** What has to follow an answer that came too late for its caller, if anything. */
export function followUp<N extends FunctionName>(name: N, item: Item<N>, answer: Answer<N>): Call | null {
  return functions[name].late?.(item, answer) ?? null
}

/** An admission that came too late for its caller holds money for nobody. */
function giveBack({ request_id, model }: Item<'admit'>, answer: Answer<'admit'>): Call | null {
  if (answer.decision !== 'admitted') return null
  const { account_id, key_id, price_version, reserved_nanousd } = answer
  const item = { request_id, account_id, attempt: 1, key_id, model, price_version, reserved_nanousd }
  return { name: 'void', item }
}
