-- What an account has, and how it is shown.

create function ledger.account_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', account.id::text,
    'name', account.name,
    'created_at', iso(account.created_at),
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'available_nanousd',
      (account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd)::text,
    'requests_per_minute', account.requests_per_minute,
    'tokens_per_minute', account.tokens_per_minute,
    'requests_in_flight_max', account.requests_in_flight_max,
    'monthly_spend_cap_nanousd', account.monthly_spend_cap_nanousd::text,
    'requests_in_flight', m.requests_in_flight,
    'charged_this_month_nanousd', (case when m.month = this_month() then m.charged_nanousd else 0 end)::text,
    'suspended_at', iso(account.suspended_at))
  from meters m where m.account_id = account.id and m.key_id = 0
$$;

-- What may still be held or debited before `never_overspent` would be broken.
create function ledger.room_of(account accounts) returns numeric language sql immutable as $$
  select account.credited_nanousd::numeric + account.overdraft_nanousd
    - account.debited_nanousd + account.late_nanousd - account.pending_nanousd
$$;

create function ledger.balance_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', account.id::text,
    'credited_nanousd', account.credited_nanousd::text,
    'debited_nanousd', account.debited_nanousd::text,
    'pending_nanousd', account.pending_nanousd::text,
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'available_nanousd',
      (account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd)::text)
$$;

-- What the functions of these names in `api` do with one item. They have locked its account.
create function ledger.update_account(item jsonb) returns jsonb language plpgsql as $$
declare
  before accounts;
  account accounts;
begin
  perform expire_grants(array[(item ->> 'account_id')::bigint], clock_timestamp());
  select * into before from accounts where id = (item ->> 'account_id')::bigint;
  update accounts a set
    name = wanted.name, overdraft_nanousd = wanted.overdraft_nanousd, requests_per_minute = wanted.requests_per_minute,
    tokens_per_minute = wanted.tokens_per_minute, requests_in_flight_max = wanted.requests_in_flight_max,
    monthly_spend_cap_nanousd = wanted.monthly_spend_cap_nanousd
  from accounts old, jsonb_populate_record(old, item -> 'fields') as wanted
  where old.id = (item ->> 'account_id')::bigint and a.id = old.id
    and (wanted.overdraft_nanousd >= a.overdraft_nanousd
      or a.overdraft_nanousd - wanted.overdraft_nanousd <= room_of(a) - greatest(0, (
        select sum(left_of(g)) - a.pending_nanousd from grants g
        where account_id = a.id and spent_nanousd + expired_nanousd < amount_nanousd)))
  returning a.* into account;
  if account.id is not null then
    perform audit(item, 'update_account', account.id, 'account ' || account.id, account_report(before), account_report(account));
  end if;
  return case
    when account.id is not null then jsonb_build_object('decision', 'allowed', 'account', account_report(account))
    when before.id is not null then jsonb_build_object('decision', 'overdraft_in_use')
    else jsonb_build_object('decision', 'not_found')
  end;
end $$;

create function ledger.update_billing(item jsonb) returns jsonb language plpgsql as $$
declare
  fields jsonb := item -> 'fields';
  before accounts;
  account accounts;
begin
  select * into before from accounts where id = (item ->> 'account_id')::bigint;
  if exists (
    select from accounts
    where stripe_customer_id = fields ->> 'stripe_customer_id' and id <> (item ->> 'account_id')::bigint) then
    return '{"decision": "customer_taken"}';
  end if;
  update accounts set
    billing_mode = coalesce(fields ->> 'billing_mode', billing_mode),
    alert_percents = case when fields ? 'alert_percents'
      then array(select jsonb_array_elements_text(fields -> 'alert_percents')::int) else alert_percents end,
    alert_amounts_nanousd = case when fields ? 'alert_amounts_nanousd'
      then array(select jsonb_array_elements_text(fields -> 'alert_amounts_nanousd')::bigint) else alert_amounts_nanousd end,
    stripe_customer_id = case when fields ? 'stripe_customer_id' then fields ->> 'stripe_customer_id' else stripe_customer_id end
  where id = (item ->> 'account_id')::bigint returning * into account;
  if account.id is not null then
    perform follow_metering(account);
    perform audit(item, 'update_billing', account.id, 'account ' || account.id, billing_report(before), billing_report(account));
  end if;
  return case when account.id is null then '{"decision": "not_found"}'
    else jsonb_build_object('decision', 'allowed', 'billing', billing_report(account)) end;
end $$;
