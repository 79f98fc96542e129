-- Stripe: customers and payments in, usage out.

-- Links a customer, unless the account has one already: of two that were made at once, one stays. Items: {account_id, customer_id}.
create or replace function link_stripe_customer(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
  taken bool;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    select exists (select from accounts where stripe_customer_id = item ->> 'customer_id' and id <> (item ->> 'account_id')::bigint)
    into taken;
    update accounts set stripe_customer_id = coalesce(stripe_customer_id, item ->> 'customer_id')
    where id = (item ->> 'account_id')::bigint and not taken returning * into account;
    if account.id is not null then
      perform follow_metering(account);
    end if;
    return next jsonb_build_object(
      'decision', case when taken then 'customer_taken' when account.id is null then 'unknown_account' else 'linked' end,
      'customer_id', account.stripe_customer_id);
  end loop;
end $$;

-- Who buys: the key's account, and its customer at Stripe if it has one.
create or replace function read_buyer(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  account accounts;
begin
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    select * into account from accounts where id = asker.account_id;
    return next jsonb_build_object(
      'decision', coalesce(asker_refusal(asker, item, 'admin'), 'allowed'),
      'account_id', account.id::text, 'name', account.name, 'customer_id', account.stripe_customer_id);
  end loop;
end $$;

-- A payment that succeeded, of an account or of a customer's: credits it once, and then does what was told of it before it was
-- known. Items: {payment, account_id | null, customer_id | null, amount_nanousd}.
create or replace function stripe_payment(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  payer bigint;
begin
  perform lock_payments(items);
  perform lock_accounts(array(select stripe_payer(i) from jsonb_array_elements(items) as i) || payers_of(items));
  for item in select * from jsonb_array_elements(items) loop
    payer := stripe_payer(item);
    return query select top_up(jsonb_build_array(jsonb_build_object(
      'account_id', payer::text, 'amount_nanousd', item ->> 'amount_nanousd', 'reference', stripe_reference(item ->> 'payment'))));
    perform apply_reversals(item ->> 'payment');
  end loop;
end $$;

-- Whoever deals with a payment holds its lock until it has committed, so of a payment and its reversal the later sees the other.
create or replace function lock_payments(items jsonb) returns void language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(payment, 0))
  from (select distinct i ->> 'payment' as payment from jsonb_array_elements(items) as i order by 1) as payments;
end $$;

create or replace function stripe_payer(item jsonb) returns bigint language sql stable as $$
  select id from accounts
  where id = (item ->> 'account_id')::bigint or (item ->> 'account_id' is null and stripe_customer_id = item ->> 'customer_id')
$$;

-- The accounts that were credited with these payments.
create or replace function payers_of(items jsonb) returns bigint[] language sql stable as $$
  select coalesce(array_agg(account_id), '{}') from entries
  where kind = 'top_up' and reference in (select stripe_reference(i ->> 'payment') from jsonb_array_elements(items) as i)
$$;

create or replace function stripe_reference(id text) returns text language sql immutable as $$
  select 'stripe:' || id
$$;

-- Items: {reference, payment, amount_nanousd, returned}.
create or replace function stripe_reversal(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  perform lock_payments(items);
  perform lock_accounts(payers_of(items));
  for item in select * from jsonb_array_elements(items) loop
    insert into stripe_reversals (reference, payment, amount_nanousd, returned)
    values (item ->> 'reference', item ->> 'payment', (item ->> 'amount_nanousd')::bigint, (item ->> 'returned')::boolean)
    on conflict (reference) do update set returned = stripe_reversals.returned or excluded.returned;
    return next jsonb_build_object('decision', apply_reversals(item ->> 'payment'));
  end loop;
end $$;

-- Brings the ledger to where the reversals of a payment are: applied, or waits where the payment is not known, or what kept one from
-- being booked, which then is tried again. Expects both to be locked, the payment and its account.
drop function if exists apply_reversals(text);
create or replace function apply_reversals(of_payment text) returns text language plpgsql as $$
declare
  payer bigint;
  reversal stripe_reversals;
  direction text;
  decision text;
begin
  select account_id into payer from entries where reference = stripe_reference(of_payment) and kind = 'top_up';
  if not found then
    return 'waits';
  end if;
  for reversal in select * from stripe_reversals where payment = of_payment for update loop
    direction := case
      when reversal.debited_at is null and not reversal.returned then 'debit'
      when reversal.debited_at is not null and reversal.returned and reversal.credited_at is null then 'credit'
    end;
    continue when direction is null;
    select adjusted ->> 'decision' into decision
    from adjust(jsonb_build_array(reversal_entry(payer, reversal, direction))) as adjusted;
    if decision <> 'adjusted' then
      return decision;
    end if;
    update stripe_reversals set
      debited_at = coalesce(debited_at, clock_timestamp()),
      credited_at = case direction when 'credit' then clock_timestamp() end
    where reference = reversal.reference;
  end loop;
  return 'applied';
end $$;

-- Money that Stripe has taken is gone, also where it leaves the account in debt.
create or replace function reversal_entry(payer bigint, reversal stripe_reversals, direction text) returns jsonb language sql immutable as $$
  select jsonb_build_object(
    'account_id', payer::text, 'direction', direction, 'amount_nanousd', reversal.amount_nanousd::text, 'may_overdraw', true,
    'reference', stripe_reference(reversal.reference) || case direction when 'credit' then '/returned' else '' end,
    'note', case when reversal.reference like 'dp%' or reversal.reference like 'du%' then 'disputed ' else 'refunded ' end || reversal.payment)
$$;

-- Usage becomes meter events ----------------------------------------------------------------------------------------------------

-- Starts or stops metering as the account's settings say. What was used before it started is not metered; what was used before it
-- stopped is, and is the customer's of that time. Expects the account to be locked.
create or replace function follow_metering(account accounts) returns void language plpgsql as $$
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
create or replace function collect_usage(metering stripe_metering, until timestamptz, entries_max bigint) returns boolean language plpgsql as $$
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

create or replace function next_revision(of_account bigint, of_hour timestamptz) returns int language sql as $$
  select coalesce(max(revision) + 1, 0) from stripe_meter_events where account_id = of_account and hour = of_hour
$$;

-- Collects the hours that are over, in one pass for all items, as expire. Answers of how many accounts: 0 when none is due. Items:
-- {count_max, entries_max (of each account)}.
create or replace function collect_metering(items jsonb) returns setof jsonb language plpgsql as $$
declare
  due bigint[] := array(
    select account_id from stripe_metering where collected_until < date_trunc('hour', clock_timestamp(), 'UTC')
    order by collected_until limit sum_of(items, 'count_max'));
  metering stripe_metering;
  this_hour timestamptz;
begin
  perform lock_accounts(due);
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
create or replace function claim_meter_events(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return query with due as (
      select account_id, hour, revision from stripe_meter_events
      where state in ('new', 'attempted') and next_attempt_at <= clock_timestamp()
        and (first_attempt_at is null or first_attempt_at > clock_timestamp() - interval '23 hours')
      order by next_attempt_at limit (item ->> 'count_max')::int for update skip locked),
    claimed as (
      update stripe_meter_events e set
        state = 'attempted', attempt = attempt + 1, first_attempt_at = coalesce(first_attempt_at, clock_timestamp()),
        next_attempt_at = clock_timestamp() + least(3600, 30 * 2 ^ least(attempt, 10)) * interval '1 second'
      from due where (e.account_id, e.hour, e.revision) = (due.account_id, due.hour, due.revision)
      returning e.*)
    select jsonb_build_object('decision', 'claimed', 'events', coalesce(jsonb_agg(jsonb_build_object(
      'account_id', c.account_id::text,
      'customer_id', c.customer_id,
      'hour_unix_s', extract(epoch from c.hour)::bigint,
      'revision', c.revision,
      'attempt', c.attempt,
      'value_nanousd', c.value_nanousd::text) order by c.account_id, c.hour, c.revision), '[]'))
    from claimed c;
  end loop;
end $$;

-- Items: {account_id, hour_unix_s, revision, state: 'sent' | 'rejected', error}.
create or replace function note_meter_event(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    update stripe_meter_events set state = item ->> 'state', error = item ->> 'error'
    where account_id = (item ->> 'account_id')::bigint and hour = to_timestamp((item ->> 'hour_unix_s')::bigint)
      and revision = (item ->> 'revision')::int and state = 'attempted';
    return next jsonb_build_object('decision', 'noted');
  end loop;
end $$;

-- Days whose every event was last tried a day ago, and that were not compared with Stripe's sum yet. Stripe takes events of the
-- last 35 days; what is older cannot be mended there. Items: {count_max}.
create or replace function due_meter_days(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return query select jsonb_build_object('decision', 'due', 'days', coalesce(jsonb_agg(jsonb_build_object(
      'customer_id', customer_id, 'day_unix_s', extract(epoch from day)::bigint)), '[]'))
    from (
      select customer_id, date_trunc('day', hour, 'UTC') as day from stripe_meter_events
      where reconciled_at is null and hour > clock_timestamp() - interval '34 days' and customer_id is not null
      group by 1, 2
      having bool_and(state <> 'new' and first_attempt_at < clock_timestamp() - interval '25 hours')
      order by 2, 1 limit (item ->> 'count_max')::int) as days;
  end loop;
end $$;

-- Compares a customer's day with Stripe's sum of it, which is of all the accounts that were the customer's in it; a difference
-- becomes an event of its own, compared again a day after. Items: {customer_id, day_unix_s, counted_nanousd}.
create or replace function reconcile_meter_day(items jsonb) returns setof jsonb language plpgsql as $$
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

-- The events of these customers' days. Items: {customer_id, day_unix_s}.
create or replace function meter_days(items jsonb) returns setof stripe_meter_events language sql stable as $$
  select e.* from jsonb_array_elements(items) as i join stripe_meter_events e
    on e.customer_id = i ->> 'customer_id' and e.hour >= to_timestamp((i ->> 'day_unix_s')::bigint)
    and e.hour < to_timestamp((i ->> 'day_unix_s')::bigint) + interval '24 hours'
$$;
