-- How a reservation is made again that a crash lost, and how it ends without a charge.

-- Since when the database has lost nothing that it had committed (0035_late_limits.sql).
create function ledger.life_began_at() returns timestamptz language plpgsql as $$
declare
  number oid := (select oid from pg_database where datname = current_database());
  began timestamptz := (select began_at from ledger_life where database_number = number);
begin
  if began is null then
    insert into ledger_life as l (database_number) values (number)
    on conflict (only_row) do update set
      database_number = number, began_at = case when l.database_number = number then l.began_at else excluded.began_at end
    returning began_at into began;
  end if;
  return began;
end $$;

-- Tickets whose reservation is not there and is not made again, each with the reason: {request_id: 'unreserved' | 'above_late_limit'}.
-- One that was signed after the last crash can have lost nothing. (A gateway of the release before does not say when it signed.)
create function ledger.refused_restorations(items jsonb) returns jsonb language sql as $$
  with lost as (
    select i.request_id, (item ->> 'issued_unix_ms')::double precision / 1000 as issued_s,
      (item ->> 'reserved_nanousd')::numeric as amount,
      sum((item ->> 'reserved_nanousd')::numeric) over (partition by account_id order by place) + (
        select coalesce(sum(amount_nanousd), 0) from reservations r
        where r.account_id = i.account_id and state = 'expired' and restored_at is not null and restored_at >= life_began_at()) as account_amount
    from settle_items(items) as i
    where not exists (select from reservations r where r.request_id = i.request_id))
  select coalesce(jsonb_object_agg(request_id, reason), '{}') from (
    select request_id, case
      when to_timestamp(issued_s) > life_began_at() + interval '1 minute' then 'unreserved'
      when amount > request_nanousd_max or account_amount > account_nanousd_max then 'above_late_limit'
    end as reason
    from lost, late_limits) as decided
  where reason is not null
$$;

-- The reservations tickets were signed for, made again where a crash lost them. They come back in a state that holds nothing: what
-- was used of an expired one is late usage, and a voided one is never charged.
create function ledger.restore_lost_reservations(items jsonb, state_after text) returns void language plpgsql as $$
begin
  if exists (
    select from settle_items(items) as i
    where not exists (select from reservations r where r.request_id = i.request_id) and not (
      exists (select from keys k where k.id = (item ->> 'key_id')::bigint and k.account_id = i.account_id)
      and exists (select from prices p where p.model = item ->> 'model' and p.version = (item ->> 'price_version')::int))) then
    raise exception 'a ticket names a key or a price that does not exist' using errcode = 'foreign_key_violation';
  end if;
  insert into reservations
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at, restored_at)
  select distinct on (i.request_id)
    i.request_id, i.account_id, (item ->> 'key_id')::bigint, item ->> 'model', (item ->> 'price_version')::int,
    (item ->> 'reserved_nanousd')::bigint, i.attempt, state_after, clock_timestamp(), clock_timestamp(), clock_timestamp()
  from settle_items(items) as i
  where not exists (select from reservations r where r.request_id = i.request_id)
  order by i.request_id, i.place
  on conflict (request_id) do nothing;
end $$;

-- Gives back what a pending reservation holds; answers it as it is then. Expects its account to be locked.
create function ledger.void_held(held reservations) returns reservations language plpgsql as $$
begin
  update reservations set state = 'voided', closed_at = clock_timestamp()
  where request_id = held.request_id returning * into held;
  update accounts set pending_nanousd = pending_nanousd - held.amount_nanousd where id = held.account_id;
  perform correct_limits(array[row(
    held.account_id, held.key_id, true, held.amount_nanousd, 0, held.charged_tokens_max, 0)::ended]);
  return held;
end $$;

-- The reference of the entry that refunds a request whose answer was lost.
create function ledger.void_reference(request uuid) returns text language sql immutable as $$
  select 'void ' || request
$$;

-- Frees what no node ever reported, oldest first; returns how many. The hour is the database's own, read after the lock was got.
create function ledger.expire_due(count_max int) returns int language plpgsql as $$
declare
  owners bigint[] := array(
    select distinct account_id from (
      select account_id from reservations
      where state = 'pending' and expires_at < clock_timestamp() order by expires_at limit count_max) as due);
  expired_count int;
  ends ended[];
begin
  owners := lock_free_accounts(owners);
  with closed as (
    update reservations set state = 'expired', closed_at = clock_timestamp()
    where request_id in (
      select request_id from reservations
      where state = 'pending' and expires_at < clock_timestamp() and account_id = any (owners)
      order by expires_at limit count_max)
    returning account_id, key_id, amount_nanousd, charged_tokens_max),
  freed as ( -- one row an account: an update applies only one of several matches
    select account_id, sum(amount_nanousd)::bigint as amount_nanousd from closed group by account_id),
  released as (
    update accounts set pending_nanousd = pending_nanousd - freed.amount_nanousd
    from freed where accounts.id = freed.account_id)
  select count(*), array_agg(row(account_id, key_id, true, amount_nanousd, 0, charged_tokens_max, null)::ended)
  into expired_count, ends from closed;
  perform correct_limits(ends);
  return expired_count;
end $$;
