-- Where a refund goes: back to what had paid. All of it in the commit that books it, under the account's lock.

-- Books a refund of a charge, and gives it back to the grants that paid, to the caps, to the day's report; and corrects the invoice that
-- the charge stands in, if there is one. What comes back to a grant that has ended ends at once: it would have, had it not been spent.
-- Null where it cannot be counted.
create function ledger.give_back(line entries, charge entries) returns entries language plpgsql as $$
declare
  used reservations;
begin
  line := book_entry(line);
  if line.id is not null then
    select * into used from reservations where request_id = charge.request_id;
    perform return_to_grants(line, charge);
    update usage_daily set refunded_nanousd = refunded_nanousd + line.amount_nanousd
    where account_id = charge.account_id and day = (used.settled_at at time zone 'UTC')::date and key_id = used.key_id
      and model = used.model and price_version = used.price_version;
    perform refund_metadata(used, line.amount_nanousd);
    -- A month that is over has no cap any more.
    if date_trunc('month', charge.created_at at time zone 'UTC') = this_month() then
      perform correct_limits(array[row(charge.account_id, used.key_id, false, 0, - line.amount_nanousd, 0, null)::ended]);
    end if;
    perform note_credit(line, invoice_of(charge), used.model);
    perform expire_grants(array[charge.account_id], clock_timestamp());
  end if;
  return line;
end $$;

-- Money comes back before grants do, and a grant that ends later before one that ends sooner: the reverse of how they were spent.
create function ledger.return_to_grants(refund entries, charge entries) returns void language plpgsql as $$
declare
  money bigint := charge.amount_nanousd - (
    select coalesce(sum(amount_nanousd), 0) from grant_spends where entry_id = charge.id);
  returned_money bigint := (
    select coalesce(sum(e.amount_nanousd - returned_nanousd(e.id)), 0) from entries e
    where e.request_id = charge.request_id and e.kind = 'refund' and e.id <> refund.id);
  rest bigint := refund.amount_nanousd - greatest(0, money - returned_money);
  paid record;
  part bigint;
begin
  for paid in
    select s.grant_id, s.amount_nanousd - (
      select coalesce(sum(r.amount_nanousd), 0) from grant_returns r join entries e on e.id = r.entry_id
      where r.grant_id = s.grant_id and e.request_id = charge.request_id and e.kind = 'refund') as left_nanousd
    from grant_spends s join grants g on g.entry_id = s.grant_id
    where s.entry_id = charge.id order by g.expires_at desc, s.grant_id desc
  loop
    part := least(rest, paid.left_nanousd);
    continue when part <= 0;
    update grants set spent_nanousd = spent_nanousd - part where entry_id = paid.grant_id;
    insert into grant_returns (entry_id, grant_id, amount_nanousd) values (refund.id, paid.grant_id, part);
    rest := rest - part;
  end loop;
end $$;

-- What of a refund went back to grants.
create function ledger.returned_nanousd(refund_id bigint) returns bigint language sql stable as $$
  select coalesce(sum(amount_nanousd), 0)::bigint from grant_returns where entry_id = refund_id
$$;
