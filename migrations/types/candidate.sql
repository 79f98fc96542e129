-- A request that asks for admission, with the rows that decide it as they are before the call.

create type ledger.candidate as (
  place int, -- in the call
  item jsonb,
  request_id uuid,
  model text,
  prompt_tokens_max bigint,
  request_output_tokens_max bigint,
  key keys,
  account accounts,
  own meters, -- the key's
  whole meters, -- the account's
  price prices,
  nodes jsonb, -- that serve the model now
  held reservations -- null where it has none yet
);
