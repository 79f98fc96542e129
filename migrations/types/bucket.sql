-- A leaky bucket after a cost was asked of it: whether it took the cost, and what is in it now. All but the level is null where nothing
-- limits it.

create type ledger.bucket as (
  is_admitted boolean,
  level bigint,
  remaining bigint,
  reset_us bigint, -- until it is empty
  retry_us bigint -- until the same cost would be taken; null where it was, and where it never will be
);
