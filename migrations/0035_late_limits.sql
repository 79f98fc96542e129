-- What usage may charge whose reservation the ledger does not know: at most so much, and only where a crash can have lost it.

create table late_limits (
  only_row boolean primary key default true check (only_row),
  request_nanousd_max bigint not null default 20000000000, -- $20: far above what any one request reserves
  account_nanousd_max bigint not null default 1000000000000 -- $1000 an account, since the database last came up
);
insert into late_limits default values;

-- Since when nothing that was committed can have been lost. It is not logged, so it is empty after a crash, on a replica that took
-- over, and after a restore; a dump that was restored is told by the number of its database.
create unlogged table ledger_life (
  only_row boolean primary key default true check (only_row),
  database_number oid not null,
  began_at timestamptz not null default clock_timestamp()
);

alter table reservations add column restored_at timestamptz; -- made again from its ticket
create index reservations_restored on reservations (account_id) where restored_at is not null;
