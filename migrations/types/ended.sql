-- What the end of a reservation gives back to the meters, or corrects in them.

create type ledger.ended as (
  account_id bigint,
  key_id bigint,
  was_pending boolean, -- it was still held: its money and its place are given back
  amount_nanousd bigint, -- that was held
  charged_nanousd bigint,
  charged_tokens_max bigint, -- as charged at admission
  tokens bigint -- as used; null where nobody knows
);
