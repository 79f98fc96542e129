-- How usage becomes meter events.

-- Starts or stops metering as the account's settings say. What was used before it started is not metered; what was used before it
-- stopped is, and is the customer's of that time. Expects the account to be locked.
create function ledger.follow_metering(account accounts) returns void language plpgsql as $$
declare
  payer text := case account.billing_mode when 'postpaid' then account.stripe_customer_id end;
begin
  perform collect_usage(m, 'infinity', account.entry_count) from stripe_metering m
  where m.account_id = account.id and m.customer_id is distinct from payer;
  delete from stripe_metering where account_id = account.id and customer_id is distinct from payer;
  if payer is not null then
    insert into stripe_metering (account_id, customer_id, last_sequence, collected_until)
    values (account.id, payer, account.entry_count, date_trunc('hour', clock_timestamp(), 'UTC'))
    on conflict do nothing;
  end if;
end $$;

-- Turns the usage before `until` into events, one for each hour of it, or several where there is more than a call should read: of
-- the next `entries_max` entries. What a grant paid is paid. (A refund of it is credit like a top-up's, and so is metered whole.)
-- Answers whether that was all. Expects the account to be locked, and so no entry to be on its way.
create function ledger.collect_usage(metering stripe_metering, until timestamptz, entries_max bigint) returns boolean language plpgsql as $$
declare
  last bigint := (
    select max(sequence) from entries
    where account_id = metering.account_id and created_at < until
      and sequence > metering.last_sequence and sequence <= metering.last_sequence + entries_max);
begin
  insert into stripe_meter_events (account_id, customer_id, hour, revision, value_nanousd)
  select metering.account_id, metering.customer_id, hour, next_revision(metering.account_id, hour), value_nanousd
  from (
    select date_trunc('hour', created_at, 'UTC') as hour, - sum(effect_nanousd(e) + (
      select coalesce(sum(amount_nanousd), 0) from grant_spends where entry_id = e.id)) as value_nanousd
    from entries e
    where account_id = metering.account_id and sequence > metering.last_sequence and sequence <= last
      and kind in ('usage', 'late_usage', 'refund')
    group by 1) as hours
  where value_nanousd <> 0;
  update stripe_metering set last_sequence = coalesce(last, last_sequence) where account_id = metering.account_id;
  return coalesce(last, 0) < metering.last_sequence + entries_max;
end $$;

create function ledger.next_revision(of_account bigint, of_hour timestamptz) returns int language sql as $$
  select coalesce(max(revision) + 1, 0) from stripe_meter_events where account_id = of_account and hour = of_hour
$$;

-- The events of these customers' days. Items: {customer_id, day_unix_s}.
create function ledger.meter_days(items jsonb) returns setof stripe_meter_events language sql stable as $$
  select e.* from jsonb_array_elements(items) as i join stripe_meter_events e
    on e.customer_id = i ->> 'customer_id' and e.hour >= to_timestamp((i ->> 'day_unix_s')::bigint)
    and e.hour < to_timestamp((i ->> 'day_unix_s')::bigint) + interval '24 hours'
$$;
