-- One item of a call of settle as it came: a ticket's fields and a usage record's.

create type ledger.settle_item as (
  place int, -- in the call
  item jsonb,
  request_id uuid,
  account_id bigint,
  attempt int,
  prompt_tokens bigint, -- what is charged of what its node counted, as are:
  cached_tokens bigint,
  completion_tokens bigint,
  counted charge_counts -- what its node counted
);
