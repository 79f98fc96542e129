-- What the limits say to a request: why it may not run, what its client is shown of them, and the meters of its key and its account as
-- they are if it runs.

create type ledger.limit_decision as (
  refusal text,
  shown jsonb,
  own meters,
  whole meters,
  answer jsonb -- to a request that was asked before
);
