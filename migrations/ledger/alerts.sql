-- How an account pays, and the warnings when what it has left falls. What is left is the balance and the overdraft; what is held
-- for requests in flight does not count, because most of it comes back.

-- The thresholds that a debit of so much has just crossed. Before and after are known in the statement that moves the money, so
-- nothing need remember what has been said: one is crossed again only after a credit lifted the account above it.
create function ledger.crossed_thresholds(account accounts, debit_nanousd bigint) returns setof threshold language sql immutable as $$
  select percent, nanousd from (
    select null::int as percent, unnest(account.alert_amounts_nanousd) as nanousd
    union all
    select percent, trunc((account.alert_base_nanousd::numeric + account.overdraft_nanousd) * percent / 100)::bigint
    from unnest(account.alert_percents) as percent
    where account.alert_base_nanousd::numeric + account.overdraft_nanousd > 0) as thresholds
  where left_nanousd(account) <= nanousd and left_nanousd(account) + debit_nanousd > nanousd
$$;

create function ledger.left_nanousd(account accounts) returns numeric language sql immutable as $$
  select account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd
$$;

-- Warns of a debit that is in the account's row already: an event for each threshold.
create function ledger.alert_debit(owner bigint, debit_nanousd bigint) returns void language plpgsql as $$
begin
  perform emit(a.id, 'balance.low', low_balance(a, c))
  from accounts a, crossed_thresholds(a, debit_nanousd) as c where a.id = owner;
end $$;

-- The same for the charges of a settled set, each account's as one debit.
create function ledger.alert_debits(settled settlement[]) returns void language plpgsql as $$
begin
  perform emit(a.id, 'balance.low', low_balance(a, c))
  from (
    select account_id, sum(charge_nanousd)::bigint as debit_nanousd
    from unnest(settled) where decision in ('posted', 'late') group by account_id) as debits
  join accounts a on a.id = account_id, crossed_thresholds(a, debit_nanousd) as c;
end $$;

create function ledger.low_balance(account accounts, crossed threshold) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', account.id::text, 'threshold_percent', crossed.percent, 'threshold_nanousd', crossed.nanousd::text, 'left_nanousd', left_nanousd(account)::text)
$$;

create function ledger.billing_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', account.id::text,
    'billing_mode', account.billing_mode,
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'left_nanousd', left_nanousd(account)::text,
    'alert_percents', to_jsonb(account.alert_percents),
    'alert_amounts_nanousd', (select coalesce(jsonb_agg(amount::text), '[]') from unnest(account.alert_amounts_nanousd) as amount),
    'stripe_customer_id', account.stripe_customer_id,
    'invoiced_until', iso(account.invoiced_until))
$$;
