-- What a request would take of the limits of its key and its account.

create type ledger.demand as (
  defaults jsonb, -- the deployment's limits, of an account that has none of its own
  tokens bigint,
  amount_nanousd numeric,
  moment_us bigint
);
