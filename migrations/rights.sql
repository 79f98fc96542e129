-- Who may call what; applied after the functions, whenever any of them changed. A gateway logs in as a member of ziya_gateway, which may
-- call the functions listed here and touch no table: they run with the rights of their owner, who migrates. So whoever takes a
-- gateway over can do what its API does, and can neither read a key's hash nor rewrite what was booked.
--   create role my_gateway login password '…' in role ziya_gateway;

do $$
declare
  owned text;
  callable text;
begin
  begin
    if not exists (select from pg_roles where rolname = 'ziya_gateway') then
      create role ziya_gateway nologin;
    end if;
  exception
    when unique_violation or duplicate_object then null; -- roles are the server's: another database of it was as fast
    when insufficient_privilege then
      raise warning 'this user may not create roles: the gateway has to log in as the owner of the tables';
      return;
  end;

  for owned in
    select format('table %s', oid::regclass) from pg_class
    where relnamespace = 'public'::regnamespace and relowner = current_user::regrole and relkind in ('r', 'p')
    union all
    select format('function %s', oid::regprocedure) from pg_proc
    where pronamespace = 'public'::regnamespace and proowner = current_user::regrole
      and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e') -- of an extension
  loop
    execute format('revoke all on %s from public, ziya_gateway', owned);
  end loop;

  foreach callable in array array[
    'admit', 'fence', 'settle', 'void', 'expire', 'health',
    'claim_request', 'keep_result', 'release_request', 'forget_requests',
    'create_key', 'list_keys', 'read_key', 'update_key', 'rotate_key', 'revoke_key', 'leak_key',
    'find_account', 'create_account', 'list_accounts', 'read_account', 'update_account', 'read_billing', 'update_billing',
    'read_balance', 'read_usage', 'list_usage', 'report_usage', 'read_prices', 'list_prices', 'publish_price',
    'top_up', 'give_grant', 'refund', 'adjust', 'expire_due_grants', 'add_usage_months',
    'cut_invoices', 'sum_invoices', 'list_invoices', 'read_invoice',
    'read_buyer', 'link_stripe_customer', 'stripe_payment', 'stripe_reversal', 'collect_metering', 'claim_meter_events',
    'note_meter_event', 'due_meter_days', 'reconcile_meter_day',
    'reconcile', 'ledger_health', 'keep_unsettled', 'list_anomalies', 'note_receipt_key', 'list_receipt_keys']
  loop
    -- Names mean what they mean to the owner; pg_temp last, where no temporary table can stand in for one of ours.
    execute format(
      'alter function %I(jsonb) security definer set search_path = %s, pg_temp', callable, current_setting('search_path'));
    execute format('grant execute on function %I(jsonb) to ziya_gateway', callable);
  end loop;
end $$;
