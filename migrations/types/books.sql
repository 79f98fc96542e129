-- The books of an account as a pass sees them: what the account says, and what its checkpoint and the entries after it add up to.

create type ledger.books as (
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
  refunded numeric,
  unmatched bigint, -- charges without their usage or reservation
  daily_count numeric,
  daily_cost numeric,
  daily_refunded numeric,
  grants_off numeric
);
