-- A refund comes back to where the money came from: to the grants that paid, to the caps of the key and the account, and into the
-- report of the day that it was charged on.

-- Which grant got how much back of which refund. What a grant has spent is what it paid, less what it got back.
create table grant_returns (
  entry_id bigint not null references entries, -- the refund
  grant_id bigint not null references grants,
  amount_nanousd bigint not null check (amount_nanousd > 0),
  primary key (entry_id, grant_id)
);
create index on grant_returns (grant_id);
create trigger grant_returns_are_immutable before update or delete on grant_returns for each row execute function refuse_change();
create trigger grant_returns_are_kept before truncate on grant_returns for each statement execute function refuse_change();

alter table usage_daily add column refunded_nanousd bigint not null default 0; -- of what was charged that day, whenever it came back
update usage_daily d set refunded_nanousd = r.refunded_nanousd
from (
  select r.account_id, (r.settled_at at time zone 'UTC')::date as day, r.key_id, r.model, r.price_version,
    sum(e.amount_nanousd) as refunded_nanousd
  from entries e join reservations r using (request_id) where e.kind = 'refund' group by 1, 2, 3, 4, 5) as r
where (d.account_id, d.day, d.key_id, d.model, d.price_version) = (r.account_id, r.day, r.key_id, r.model, r.price_version);

-- Refunds are added up with the rest, from the first entry on: the next pass reads all of them again.
delete from ledger_checkpoints;
alter table ledger_checkpoints add column refunded_nanousd bigint not null;
