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

-- The items, once the accounts that they name are locked. Whoever is given one reads what was committed before: it has to be volatile.
create function ledger.locking(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_named_accounts(items);
  return query select jsonb_array_elements(items);
end $$;
