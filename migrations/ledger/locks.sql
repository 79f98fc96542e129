-- Every function that moves money locks the accounts it touches first, all at once and in the order of their ids. Two calls
-- can therefore wait for each other but never in a circle, and whoever holds an account holds its reservations too.
create function ledger.lock_accounts(ids bigint[]) returns void language plpgsql as $$
begin
  perform 1 from accounts where id = any (ids) order by id for no key update;
end $$;
