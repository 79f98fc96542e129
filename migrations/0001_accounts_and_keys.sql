-- Who pays and who may ask. Every amount is a bigint in nano-USD: sums are exact, and 9.2e18 of them are nine billion dollars.

create table accounts (
  id bigint generated always as identity primary key,
  name text not null,
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  credited_nanousd bigint not null default 0 check (credited_nanousd >= 0),
  debited_nanousd bigint not null default 0 check (debited_nanousd >= 0),
  pending_nanousd bigint not null default 0 check (pending_nanousd >= 0),
  -- Of the debited, what was settled when nothing was held for it any more. Only this may exceed the balance.
  late_nanousd bigint not null default 0 check (late_nanousd >= 0),
  overdraft_nanousd bigint not null default 0 check (overdraft_nanousd >= 0),
  created_at timestamptz not null default clock_timestamp(),
  constraint never_overspent
    check (debited_nanousd - late_nanousd + pending_nanousd <= credited_nanousd + overdraft_nanousd)
) with (fillfactor = 50); -- the only hot rows: room for updates in place

create table keys (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  name text not null,
  hash bytea not null unique check (octet_length(hash) = 32), -- sha256: the key itself is never stored
  prefix text not null,
  last_four text not null,
  scopes text[] not null,
  models text[], -- null: every model
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz
);
create index on keys (account_id);
