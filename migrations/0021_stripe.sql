-- What goes to Stripe and comes from it. Money comes in by top-ups whose reference is Stripe's id of the payment; usage of postpaid
-- accounts goes out as meter events, one an account and hour.

alter table accounts add column stripe_customer_id text unique;

-- Refunds and disputes of payments: taken back, and returned where they did not come to pass. They may be told before the payment
-- itself is, and their end before their beginning.
create table stripe_reversals (
  reference text primary key,
  payment text not null,
  amount_nanousd bigint not null check (amount_nanousd > 0),
  returned boolean not null,
  debited_at timestamptz, -- null while the payment is not known, and for ever where it was returned before
  credited_at timestamptz check (credited_at is null or (debited_at is not null and returned)),
  created_at timestamptz not null default clock_timestamp()
);
create index on stripe_reversals (payment);

-- Postpaid accounts that have a customer at Stripe, and how far their usage has become meter events.
create table stripe_metering (
  account_id bigint primary key references accounts,
  last_sequence bigint not null,
  collected_until timestamptz not null -- always a full hour
);
create index on stripe_metering (collected_until);

-- A meter event has a name that follows from what it says, so it can be sent again and is counted once, as long as Stripe
-- remembers the name: 24 hours. What is still unknown then is not sent again; the day is compared with Stripe's own sum of it,
-- and a correction makes up the difference.
create table stripe_meter_events (
  account_id bigint not null references accounts,
  hour timestamptz not null,
  revision int not null check (revision >= 0),
  is_correction boolean not null default false,
  value_nanousd bigint not null check (value_nanousd <> 0),
  state text not null default 'new' check (state in ('new', 'attempted', 'sent', 'rejected')),
  attempt int not null default 0,
  first_attempt_at timestamptz check ((first_attempt_at is null) = (attempt = 0)),
  next_attempt_at timestamptz not null default clock_timestamp(),
  error text,
  reconciled_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  primary key (account_id, hour, revision)
);
create index on stripe_meter_events (next_attempt_at) where state in ('new', 'attempted');
create index on stripe_meter_events (account_id, hour) where reconciled_at is null;
