-- One item of a call of settle, decided: what the steps of a settlement hand to each other.

create type ledger.settlement as (
  place int, -- in the call
  decision text, -- posted and late are made; the others change nothing
  request_id uuid,
  account_id bigint,
  key_id bigint,
  model text,
  price_version int,
  attempt int,
  held_nanousd bigint, -- the reservation
  charge_nanousd bigint, -- what is charged of it
  prompt_tokens bigint,
  cached_tokens bigint,
  completion_tokens bigint,
  computed_tokens bigint, -- prompt and answer, whether or not they are charged
  created_at timestamptz, -- the reservation's, as is:
  charged_tokens_max bigint,
  metadata jsonb -- null where it has none
);
