-- Functions leave the schema of the tables: those that a gateway may call are made in `api`, what they use in `ledger`. Both schemas are
-- made anew whenever a function changes (schemas.sql). This removes what earlier versions left beside the tables.

create schema api;
create schema ledger;

do $$
declare
  old regprocedure;
begin
  for old in
    select oid from pg_proc
    where pronamespace = current_schema()::regnamespace and proowner = current_user::regrole and proname = any (array[
    'account_report', 'add_up_usage', 'add_usage_month', 'add_usage_months', 'adjust', 'admission', 'admission_refusal',
    'admit', 'admit_one', 'alert_debit', 'alert_debits', 'answers_of_pass', 'apply_reversals', 'asked_account', 'asked_key',
    'asker_of', 'asker_refusal', 'authenticate', 'balance_report', 'billing_report', 'book_entry', 'book_usage', 'booked',
    'booked_before', 'books_after', 'claim_for_generation', 'claim_meter_events', 'claim_request', 'close_invoice',
    'collect_metering', 'collect_usage', 'correct_limits', 'corrected', 'cost_nanousd', 'create_account', 'create_key',
    'crossed_thresholds', 'cut_invoices', 'cut_month', 'decide_limits', 'decide_settlements', 'drained', 'due_meter_days',
    'effect_nanousd', 'ends_of', 'exceeding', 'exceeds', 'expire', 'expire_due', 'expire_due_grants', 'expire_grants',
    'fence', 'filled', 'follow_metering', 'forget_requests', 'gcra', 'give_grant', 'health', 'heartbeat', 'holds_claim',
    'idempotency_verdict', 'insert_key', 'invoice_id', 'invoice_report', 'invoice_summary', 'is_limited', 'iso',
    'keep_result', 'keep_unsettled', 'key_asked_about', 'key_refusal', 'key_report', 'keys_max', 'leak_key', 'ledger_checks',
    'ledger_health', 'ledger_report', 'left_nanousd', 'left_of', 'level_unit', 'limit_of', 'link_stripe_customer',
    'list_accounts', 'list_anomalies', 'list_invoices', 'list_keys', 'list_prices', 'list_receipt_keys', 'list_usage',
    'listed_findings', 'live_nodes', 'lock_accounts', 'lock_accounts_of', 'lock_payments', 'low_balance', 'meter_days',
    'meter_of', 'new_entry', 'next_revision', 'note_anomalies', 'note_meter_event', 'note_receipt_key', 'now_us',
    'other_limit', 'payers_of', 'price_at', 'price_now', 'price_report', 'publish_one_price', 'publish_price', 'read_account',
    'read_balance', 'read_billing', 'read_buyer', 'read_invoice', 'read_key', 'read_prices', 'read_usage', 'reconcile',
    'reconcile_accounts', 'reconcile_meter_day', 'reconcile_pending', 'reconcile_usage', 'refund', 'release_request',
    'report_usage', 'requests_to_stop', 'restore', 'reversal_entry', 'revoke', 'revoke_key', 'room_of', 'rotate_key',
    'save_takings', 'settle', 'settle_items', 'settle_one', 'settle_refused', 'settle_rounds', 'settle_set', 'shown_limit',
    'spend_grants', 'spend_grants_on_usage', 'stripe_payer', 'stripe_payment', 'stripe_reference', 'stripe_reversal',
    'sum_entries', 'sum_invoices', 'sum_of', 'sum_usage', 'taken', 'this_month', 'top_up', 'update_account', 'update_billing',
    'update_key', 'usage_report', 'void', 'void_reference'])
  loop
    execute format('drop function %s', old);
  end loop;
end $$;

drop type ended;
drop type limit_decision;
drop type settlement;
drop type books;
drop type threshold;
