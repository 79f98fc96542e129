-- The ledger: held money (reservations), what happened (usage), and the lines that moved money (entries).
-- A reservation goes pending → posted | voided | expired, once. Each invariant has a backstop that no function can talk its way past.

create table reservations (
  request_id uuid primary key,
  account_id bigint not null references accounts,
  key_id bigint not null references keys,
  model text not null,
  price_version int not null,
  amount_nanousd bigint not null check (amount_nanousd >= 0),
  attempt int not null check (attempt > 0), -- the one that may settle; every earlier one is stale
  state text not null check (state in ('pending', 'posted', 'voided', 'expired')),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  closed_at timestamptz check ((state = 'pending') = (closed_at is null)),
  foreign key (model, price_version) references prices
);
create index on reservations (expires_at) where state = 'pending';
create index on reservations (account_id, created_at desc, request_id);

-- One row a settled request: the node's counts and what they cost.
create table usage (
  request_id uuid primary key references reservations,
  account_id bigint not null references accounts,
  attempt int not null,
  prompt_tokens bigint not null check (prompt_tokens >= 0),
  cached_tokens bigint not null check (cached_tokens between 0 and prompt_tokens),
  completion_tokens bigint not null check (completion_tokens >= 0),
  delivered_tokens bigint not null check (delivered_tokens >= 0),
  outcome text not null,
  started_at timestamptz not null,
  first_token_ms double precision,
  duration_ms double precision not null,
  cost_nanousd bigint not null check (cost_nanousd >= 0),
  settled_at timestamptz not null default clock_timestamp()
);

create table entries (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  request_id uuid references reservations,
  kind text not null check (kind in ('top_up', 'usage', 'late_usage', 'refund')),
  amount_nanousd bigint not null check (amount_nanousd >= 0), -- its direction is its kind
  reference text, -- the outside's name for it: a repeated top-up is found by it
  created_at timestamptz not null default clock_timestamp(),
  check ((request_id is not null) = (kind in ('usage', 'late_usage')))
);
create unique index entries_charge_a_reservation_once on entries (request_id) where kind in ('usage', 'late_usage');
create unique index entries_credit_a_reference_once on entries (reference) where kind = 'top_up';
create index on entries (account_id, id);
create trigger entries_are_immutable before update or delete on entries for each row execute function refuse_change();
create trigger entries_are_kept before truncate on entries for each statement execute function refuse_change();

-- What should never happen and did: kept for a person to read, charged to nobody.
create table anomalies (
  id bigint generated always as identity primary key,
  request_id uuid not null,
  kind text not null,
  detail jsonb not null,
  created_at timestamptz not null default clock_timestamp()
);

-- Events for customers, written in the statement that caused them and sent from here afterwards.
create table outbox (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  kind text not null,
  payload jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  sent_at timestamptz
);
create index on outbox (id) where sent_at is null;
