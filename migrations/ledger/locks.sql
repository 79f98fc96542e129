-- Every function that moves money locks the accounts it touches first, all at once and in the order of their ids. Two calls
-- can therefore wait for each other but never in a circle, and whoever holds an account holds its reservations too.
create function ledger.lock_accounts(ids bigint[]) returns void language plpgsql as $$
begin
  perform 1 from accounts where id = any (ids) order by id for no key update;
end $$;

-- The accounts that the items name.
create function ledger.lock_named_accounts(items jsonb) returns void language plpgsql as $$
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
end $$;

-- The account that each item names, in order; null where it names none.
create function ledger.owners_named(items jsonb) returns bigint[] language sql immutable as $$
  select array_agg((item ->> 'account_id')::bigint order by place) from jsonb_array_elements(items) with ordinality as listed (item, place)
$$;

-- The items, once the accounts that they name are locked. Whoever is given one reads what was committed before: it has to be volatile.
create function ledger.locking(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_named_accounts(items);
  return query select jsonb_array_elements(items);
end $$;

-- Locks those accounts that can be had in `ms_max`, and answers which: all, or those that nobody else holds for longer.
create function ledger.lock_free_accounts(ids bigint[], ms_max int default 100) returns bigint[] language plpgsql as $$
begin
  perform set_config('lock_timeout', coalesce(ms_max, 100)::text, true), lock_accounts(ids);
  return ids;
exception
  when lock_not_available then return free_accounts(ids);
end $$;

create function ledger.free_accounts(ids bigint[]) returns bigint[] language plpgsql as $$
begin
  return array(select id from accounts where id = any (ids) order by id for no key update skip locked);
end $$;

-- The answers of the function `name` in `api` about those items whose owner can be locked at once, and `locked` to the others.
create function ledger.answers_beside_locked(name text, items jsonb, owners bigint[]) returns setof jsonb language plpgsql as $$
declare
  free bigint[] := free_accounts(owners);
  is_free boolean[] := array(select coalesce(owner = any (free), true) from unnest(owners) with ordinality as o (owner, place) order by place);
  asked jsonb := (
    select jsonb_agg(item order by place) from jsonb_array_elements(items) with ordinality as i (item, place) where is_free[place]);
  answers jsonb[] := '{}';
begin
  if asked is not null then
    execute format('select array_agg(answer) from api.%I($1) as answer', name) using asked into answers;
  end if;
  return query
    select case when can then answers[count(*) filter (where can) over (order by place)] else '{"decision": "locked"}' end
    from unnest(is_free) with ordinality as f (can, place) order by place;
end $$;
