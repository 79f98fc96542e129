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
-- the next `entries_max` entries. What a grant paid is paid. So is what a refund gave back to it.
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
    select date_trunc('hour', created_at, 'UTC') as hour, - sum(effect_nanousd(e)
      + (select coalesce(sum(amount_nanousd), 0) from grant_spends where entry_id = e.id)
      - (select coalesce(sum(amount_nanousd), 0) from grant_returns where entry_id = e.id)) as value_nanousd
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

-- The name of an event at Stripe, which says what it is, and of which deployment.
create function ledger.meter_event_name(event stripe_meter_events, item jsonb) returns text language sql stable as $$
  select format('usage-%s%s-%s-%s', case when item ? 'names_deployment' then (select id || '-' from deployment) end,
    event.account_id, extract(epoch from event.hour)::bigint, event.revision)
$$;

-- What the functions of these names in `api` do with one item.
create function ledger.claim_meter_events(item jsonb) returns jsonb language sql as $$
  with due as (
    select account_id, hour, revision, coalesce(identifier, meter_event_name(e, item)) as identifier from stripe_meter_events e
    where state in ('new', 'attempted') and next_attempt_at <= clock_timestamp()
      -- A gateway that makes names itself makes those without a deployment.
      and (item ? 'names_deployment' or coalesce(identifier, meter_event_name(e, item)) = meter_event_name(e, item))
      and (first_attempt_at is null or first_attempt_at > clock_timestamp() - interval '23 hours')
    order by next_attempt_at limit (item ->> 'count_max')::int for update skip locked),
  claimed as (
    update stripe_meter_events e set
      state = 'attempted', attempt = attempt + 1, identifier = due.identifier, first_attempt_at = coalesce(first_attempt_at, clock_timestamp()),
      next_attempt_at = clock_timestamp() + least(3600, 30 * 2 ^ least(attempt, 10)) * interval '1 second'
    from due where (e.account_id, e.hour, e.revision) = (due.account_id, due.hour, due.revision)
    returning e.*)
  select jsonb_build_object('decision', 'claimed', 'events', coalesce(jsonb_agg(jsonb_build_object(
    'account_id', c.account_id::text,
    'customer_id', c.customer_id,
    'hour_unix_s', extract(epoch from c.hour)::bigint,
    'revision', c.revision,
    'attempt', c.attempt,
    'identifier', c.identifier,
    'value_nanousd', c.value_nanousd::text) order by c.account_id, c.hour, c.revision), '[]'))
  from claimed c
$$;

create function ledger.note_meter_event(item jsonb) returns jsonb language plpgsql as $$
begin
  update stripe_meter_events set state = item ->> 'state', error = item ->> 'error'
  where account_id = (item ->> 'account_id')::bigint and hour = to_timestamp((item ->> 'hour_unix_s')::bigint)
    and revision = (item ->> 'revision')::int and state = 'attempted';
  return jsonb_build_object('decision', 'noted');
end $$;
