-- How held money is given back where nothing was generated, or nobody reported.

-- The reference of the entry that refunds a request whose answer was lost.
create or replace function void_reference(request uuid) returns text language sql immutable as $$
  select 'void ' || request
$$;

-- Gives money back for an answer that nobody got: what is held; or, where its node had reported before its connection broke, what
-- it was charged. A lost reservation is written down as voided, so that it stays so.
create or replace function void(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  held reservations;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  perform restore(items, 'voided');
  for item in select * from jsonb_array_elements(items) loop
    select * into held from reservations
    where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint;
    if held.state = 'pending' then
      update reservations set state = 'voided', closed_at = clock_timestamp()
      where request_id = held.request_id returning * into held;
      update accounts set pending_nanousd = pending_nanousd - held.amount_nanousd where id = held.account_id;
      perform correct_limits(array[row(
        held.account_id, held.key_id, true, held.amount_nanousd, 0, held.tokens_max, 0)::ended]);
    elsif held.settled_at is not null then
      perform refund(jsonb_build_array(jsonb_build_object(
        'account_id', held.account_id, 'request_id', held.request_id, 'reference', void_reference(held.request_id),
        'note', 'its answer was lost')));
    end if;
    return next jsonb_build_object('decision', coalesce(held.state, 'rejected'));
  end loop;
end $$;

-- Frees what no node ever reported, oldest first; returns how many. The hour is the database's own, read after the lock was got.
create or replace function expire_due(count_max int) returns int language plpgsql as $$
declare
  owners bigint[] := array(
    select distinct account_id from (
      select account_id from reservations
      where state = 'pending' and expires_at < clock_timestamp() order by expires_at limit count_max) as due);
  expired_count int;
  ends ended[];
begin
  perform lock_accounts(owners);
  with closed as (
    update reservations set state = 'expired', closed_at = clock_timestamp()
    where request_id in (
      select request_id from reservations
      where state = 'pending' and expires_at < clock_timestamp() and account_id = any (owners)
      order by expires_at limit count_max)
    returning account_id, key_id, amount_nanousd, tokens_max),
  freed as ( -- one row an account: an update applies only one of several matches
    select account_id, sum(amount_nanousd)::bigint as amount_nanousd from closed group by account_id),
  released as (
    update accounts set pending_nanousd = pending_nanousd - freed.amount_nanousd
    from freed where accounts.id = freed.account_id)
  select count(*), array_agg(row(account_id, key_id, true, amount_nanousd, 0, tokens_max, null)::ended)
  into expired_count, ends from closed;
  perform correct_limits(ends);
  return expired_count;
end $$;

create or replace function expire(items jsonb) returns setof jsonb language sql as $$
  select answers_of_pass(items, 'expired', expire_due(sum_of(items, 'count_max')::int))
$$;

-- A pass is made once for all items of a call, and answers the first: passes in one statement would lock accounts out of their order.
create or replace function answers_of_pass(items jsonb, done text, count bigint) returns setof jsonb language sql immutable as $$
  select jsonb_build_object('decision', done, 'count', case place when 1 then count else 0 end)
  from jsonb_array_elements(items) with ordinality as listed (item, place) order by place
$$;

create or replace function sum_of(items jsonb, field text) returns bigint language sql immutable as $$
  select sum((i ->> field)::bigint)::bigint from jsonb_array_elements(items) as i
$$;
