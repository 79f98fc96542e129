-- Credit that ends. A debit takes from grants before anything else, from the one that ends first; a request may take from those
-- that had not ended when it was admitted. What nobody may take any more is booked out as an entry.

create function ledger.left_of(given grants) returns bigint language sql immutable as $$
  select given.amount_nanousd - given.spent_nanousd - given.expired_nanousd
$$;

-- Lets a debit take what it can from the grants that were valid at a moment. Expects the account to be locked.
create function ledger.spend_grants(debit_id bigint, owner bigint, amount bigint, valid_at timestamptz) returns void language plpgsql as $$
declare
  given grants;
  part bigint;
begin
  for given in
    select * from grants
    where account_id = owner and spent_nanousd + expired_nanousd < amount_nanousd and expires_at > valid_at
    order by expires_at, entry_id
  loop
    part := least(left_of(given), amount);
    exit when part <= 0;
    update grants set spent_nanousd = spent_nanousd + part where entry_id = given.entry_id;
    insert into grant_spends (entry_id, grant_id, amount_nanousd) values (debit_id, given.entry_id, part);
    amount := amount - part;
  end loop;
end $$;

-- The same for each charge of a settled set, in the order of their entries, which a join need not keep; costs one look where no account
-- of the set has a grant.
create function ledger.spend_grants_on_usage(settled settlement[]) returns void language plpgsql as $$
declare
  charge record;
begin
  if exists (
    select from grants where account_id in (select account_id from unnest(settled))
      and spent_nanousd + expired_nanousd < amount_nanousd) then
    for charge in
      select e.id, s.account_id, s.charge_nanousd, s.created_at
      from unnest(settled) as s join entries e on e.request_id = s.request_id and e.kind in ('usage', 'late_usage')
      where s.decision in ('posted', 'late')
      order by s.place
    loop
      perform spend_grants(charge.id, charge.account_id, charge.charge_nanousd, charge.created_at);
    end loop;
  end if;
end $$;

-- Books out what is left of grants that have ended, but for what requests that were admitted before still hold. Expects the accounts
-- to be locked; costs one look where nothing is due. What the account has no room for is spent already: it stays, and is booked out of
-- the next credit. Who then lets money be held or debited does so as of the same moment: else a
-- grant could end in between, and be counted on and booked out.
create function ledger.expire_grants(owners bigint[], moment timestamptz) returns int language plpgsql as $$
declare
  given grants;
  held numeric;
  part bigint;
  line entries;
  expired_count int := 0;
begin
  for given in
    select * from grants
    where account_id = any (owners) and spent_nanousd + expired_nanousd < amount_nanousd and expires_at <= moment
    order by account_id, expires_at, entry_id
  loop
    -- Requests take from the grants that end first: those before this one are held first.
    held := (
      select coalesce(sum(amount_nanousd), 0) from reservations
      where account_id = given.account_id and state = 'pending' and created_at < given.expires_at) - (
      select coalesce(sum(left_of(g)), 0) from grants g
      where account_id = given.account_id and spent_nanousd + expired_nanousd < amount_nanousd
        and (expires_at, entry_id) < (given.expires_at, given.entry_id));
    part := left_of(given) - greatest(held, 0);
    part := least(part, (select room_of(a) from accounts a where id = given.account_id));
    if part > 0 then
      line := book_entry(jsonb_populate_record(null::entries, jsonb_build_object(
        'account_id', given.account_id, 'kind', 'grant_expiry', 'amount_nanousd', part)));
      update grants set expired_nanousd = expired_nanousd + part where entry_id = given.entry_id;
      insert into grant_spends (entry_id, grant_id, amount_nanousd) values (line.id, given.entry_id, part);
      expired_count := expired_count + 1;
    end if;
  end loop;
  return expired_count;
end $$;
