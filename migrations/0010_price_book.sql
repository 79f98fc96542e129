-- Prices may begin later, cost less for cached input, and be agreed with one account. All share one numbering a model, so the
-- version in a reservation says alone what it is settled at.

alter table prices
  add column cached_input_nanousd_per_token bigint,
  add column account_id bigint references accounts, -- null: the list price; else agreed with this account, and before the list
  add column valid_until timestamptz, -- of an agreed price: afterwards the list applies again
  add column published_at timestamptz not null default clock_timestamp();

alter table prices disable trigger prices_are_immutable;
update prices set cached_input_nanousd_per_token = input_nanousd_per_token;
alter table prices enable trigger prices_are_immutable;

alter table prices
  alter column cached_input_nanousd_per_token set not null,
  -- So the ceiling of a prompt needs not know what will be cached.
  add constraint cached_input_costs_no_more check (cached_input_nanousd_per_token between 0 and input_nanousd_per_token),
  add constraint list_prices_stay_valid check (valid_until is null or (account_id is not null and valid_until >= valid_from));
create index prices_in_force on prices (model, account_id, valid_from, version);
