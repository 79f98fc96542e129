-- Stripe: usage out, as meter events.

-- Collects the hours that are over, in one pass for all items, as expire. Answers of how many accounts: 0 when none is due. Items:
-- {count_max, entries_max (of each account)}.
create function api.collect_metering(items jsonb) returns setof jsonb language plpgsql as $$
declare
  due bigint[] := array(
    select account_id from stripe_metering where collected_until < date_trunc('hour', clock_timestamp(), 'UTC')
    order by collected_until limit sum_of(items, 'count_max'));
  metering stripe_metering;
  this_hour timestamptz;
begin
  due := lock_free_accounts(due);
  this_hour := date_trunc('hour', clock_timestamp(), 'UTC');
  for metering in select * from stripe_metering where account_id = any (due) and collected_until < this_hour loop
    if collect_usage(metering, this_hour, (items -> 0 ->> 'entries_max')::bigint) then
      update stripe_metering set collected_until = this_hour where account_id = metering.account_id;
    end if;
  end loop;
  return query select answers_of_pass(items, 'collected', cardinality(due));
end $$;

-- The events to send now, each marked as tried before it is: an hour less than Stripe remembers names, so that none is counted
-- twice. An answer that got lost only delays them. Items: {count_max}.
create function api.claim_meter_events(items jsonb) returns setof jsonb language sql as $$ select claim_meter_events(i) from jsonb_array_elements(items) as i $$;

-- Items: {account_id, hour_unix_s, revision, state: 'sent' | 'rejected', error}.
create function api.note_meter_event(items jsonb) returns setof jsonb language sql as $$ select note_meter_event(i) from jsonb_array_elements(items) as i $$;

-- Days whose every event was last tried a day ago, and that were not compared with Stripe's sum yet. Stripe takes events of the
-- last 35 days; what is older cannot be mended there. Items: {count_max}.
create function api.due_meter_days(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', 'due', 'days', (
    select coalesce(jsonb_agg(jsonb_build_object('customer_id', customer_id, 'day_unix_s', extract(epoch from day)::bigint)), '[]')
    from (
      select customer_id, date_trunc('day', hour, 'UTC') as day from stripe_meter_events
      where reconciled_at is null and hour > clock_timestamp() - interval '34 days' and customer_id is not null
      group by 1, 2
      having bool_and(state <> 'new' and first_attempt_at < clock_timestamp() - interval '25 hours')
      order by 2, 1 limit (item ->> 'count_max')::int) as days))
  from jsonb_array_elements(items) as item
$$;

-- Compares a customer's day with Stripe's sum of it, which is of all the accounts that were the customer's in it; a difference
-- becomes an event of its own, compared again a day after. Items: {customer_id, day_unix_s, counted_nanousd}.
create function api.reconcile_meter_day(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  day timestamptz;
  missing bigint;
begin
  perform lock_accounts(array(
    select account_id from meter_days(items)
    union select account_id from stripe_metering where customer_id in (select i ->> 'customer_id' from jsonb_array_elements(items) as i)));
  for item in select * from jsonb_array_elements(items) loop
    day := to_timestamp((item ->> 'day_unix_s')::bigint);
    -- Asked again, it finds the correction that it made, or nothing left to compare.
    if coalesce((
      select bool_and(reconciled_at is not null) or bool_or(state = 'new' or first_attempt_at >= clock_timestamp() - interval '25 hours')
      from meter_days(jsonb_build_array(item))), true) then
      return next jsonb_build_object('decision', 'not_due');
      continue;
    end if;
    select coalesce(sum(value_nanousd) filter (where not is_correction), 0) - (item ->> 'counted_nanousd')::bigint into missing
    from meter_days(jsonb_build_array(item));
    if missing = 0 then
      update stripe_meter_events set reconciled_at = clock_timestamp()
      where customer_id = item ->> 'customer_id' and hour >= day and hour < day + interval '24 hours' and reconciled_at is null;
    else
      insert into stripe_meter_events (account_id, customer_id, hour, revision, is_correction, value_nanousd)
      select account_id, item ->> 'customer_id', day, next_revision(account_id, day), true, missing
      from (select max(account_id) as account_id from meter_days(jsonb_build_array(item))) as latest;
    end if;
    return next jsonb_build_object('decision', case when missing = 0 then 'equal' else 'corrected' end, 'missing_nanousd', missing::text);
  end loop;
end $$;
