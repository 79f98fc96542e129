-- What reconciling knows and found. Entries never change, so what was added up once needs not be read again: a pass reads only what
-- was booked since the last, and compares (migrations/functions/reconcile.sql).

create table ledger_checkpoints (
  account_id bigint primary key references accounts,
  sequence bigint not null, -- all entries up to this one are in the sums
  credited_nanousd bigint not null,
  debited_nanousd bigint not null,
  late_nanousd bigint not null,
  charge_count bigint not null, -- entries of usage
  charged_nanousd bigint not null
) with (fillfactor = 50);

-- What does not agree now; a pass replaces what it looked at.
create table ledger_findings (
  id bigint generated always as identity primary key,
  check_name text not null,
  account_id bigint,
  drift_nanousd numeric not null, -- how far the two sides are apart
  detail jsonb not null,
  found_at timestamptz not null default clock_timestamp()
);
create index on ledger_findings (account_id);

create table ledger_passes (
  only_row boolean primary key default true check (only_row),
  checked_at timestamptz, -- the end of the last complete pass
  usage_checked_until timestamptz not null default clock_timestamp(),
  started_anew_at timestamptz not null default clock_timestamp()
);
insert into ledger_passes default values;

-- The books of an account as a pass sees them: what the account says, and what its checkpoint and the entries after it add up to.
create type books as (
  account_id bigint,
  entry_count bigint,
  credited bigint,
  debited bigint,
  late bigint,
  seen bigint, -- the checkpoint's sequence
  to_read bigint, -- entries after it, as many as a step may read
  lines bigint, -- that were there
  last_line bigint,
  credits numeric,
  debits numeric,
  lates numeric,
  charge_count numeric,
  charged numeric,
  unmatched bigint, -- charges without their usage or reservation
  daily_count numeric,
  daily_cost numeric,
  grants_off numeric
);
