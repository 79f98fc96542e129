-- One bound of what may be spent, and what is left under it.

create type ledger.spend_bound as (
  bound text, -- key_cap, account_cap or balance
  limit_nanousd bigint, -- the cap, or the balance
  held_nanousd bigint, -- by requests that run
  room numeric -- below 0 where a cap or an overdraft was lowered
);
