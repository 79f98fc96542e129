-- More ways to move money than top-ups and usage; every entry numbered within its account; credit that ends.

alter table accounts
  add column entry_count bigint not null default 0, -- the sequence of its last entry
  -- What the credits and debits of the account add up to, kept by whoever holds its lock. Credits: top_up, grant, refund,
  -- adjustment_credit. Debits: usage, late_usage, adjustment_debit, adjustment_late_debit, grant_expiry. Late of these: late_usage,
  -- adjustment_late_debit.
  add constraint late_is_debited check (late_nanousd <= debited_nanousd);

alter table entries disable trigger entries_are_immutable;
alter table entries
  add column sequence bigint check (sequence > 0), -- 1, 2, 3 … in its account: a missing line shows
  add column note text; -- an operator's, for a person to read
update entries e set sequence = numbered.sequence
from (select id, row_number() over (partition by account_id order by id) as sequence from entries) as numbered
where e.id = numbered.id;
update accounts a set entry_count = counted.entry_count
from (select account_id, count(*) as entry_count from entries group by account_id) as counted where a.id = counted.account_id;
alter table entries enable trigger entries_are_immutable;

alter table entries
  alter column sequence set not null,
  drop constraint entries_kind_check,
  drop constraint entries_check,
  add constraint entries_kind_check check (kind in (
    'top_up', 'grant', 'refund', 'adjustment_credit',
    'usage', 'late_usage', 'adjustment_debit', 'adjustment_late_debit', 'grant_expiry')),
  add constraint entries_of_a_request check ((request_id is not null) = (kind in ('usage', 'late_usage', 'refund'))),
  add constraint entries_are_numbered unique (account_id, sequence);
drop index entries_credit_a_reference_once;
create unique index entries_book_a_reference_once on entries (reference);
create index entries_refund_a_request on entries (request_id) where kind = 'refund';

-- Credit that ends. It is spent before any other, the one that ends first before the rest; what is left of it then is an entry.
create table grants (
  entry_id bigint primary key references entries, -- the one that gave it
  account_id bigint not null references accounts,
  amount_nanousd bigint not null check (amount_nanousd > 0),
  spent_nanousd bigint not null default 0 check (spent_nanousd >= 0),
  expired_nanousd bigint not null default 0 check (expired_nanousd >= 0),
  expires_at timestamptz not null,
  check (spent_nanousd + expired_nanousd <= amount_nanousd)
);
create index grants_left on grants (account_id, expires_at) where spent_nanousd + expired_nanousd < amount_nanousd;

-- Which grant paid how much of which debit, its own expiry among them.
create table grant_spends (
  entry_id bigint not null references entries, -- the debit
  grant_id bigint not null references grants,
  amount_nanousd bigint not null check (amount_nanousd > 0),
  primary key (entry_id, grant_id)
);
create index on grant_spends (grant_id);
create trigger grant_spends_are_immutable before update or delete on grant_spends for each row execute function refuse_change();
create trigger grant_spends_are_kept before truncate on grant_spends for each statement execute function refuse_change();
