-- What a caller writes on a request to find it again, and what was used of each name and value of it, added up as days are. Both are
-- written only where a request has any.

alter table reservations add column metadata jsonb;

create table usage_metadata_daily (
  account_id bigint not null references accounts,
  name text not null,
  day date not null, -- of UTC, when it was settled
  value text not null,
  key_id bigint not null references keys,
  model text not null,
  request_count bigint not null,
  prompt_tokens bigint not null,
  cached_tokens bigint not null,
  completion_tokens bigint not null,
  cost_nanousd bigint not null,
  refunded_nanousd bigint not null default 0,
  primary key (account_id, name, day, value, key_id, model)
) with (fillfactor = 50);

-- How many rows a name has on a day. What goes beyond the most that may be is in no row: `is_full`. Of names beyond the most that a day
-- may have, the row of the name '' says so.
create table usage_metadata_names (
  account_id bigint not null references accounts,
  day date not null,
  name text not null,
  row_count int not null default 0,
  is_full boolean not null default false,
  primary key (account_id, day, name)
) with (fillfactor = 50);
