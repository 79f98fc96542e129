-- Usage in a table a month, so that a month can be archived whole and indexes stay small; and what was used each day, added up
-- as it is settled, so that a report reads days and not requests. A request is settled once because its reservation is, which
-- also says when: so its usage is found in one partition.

alter table reservations add column settled_at timestamptz;
update reservations r set settled_at = u.settled_at from usage u where u.request_id = r.request_id;

alter table usage rename to usage_unpartitioned;
alter table usage_unpartitioned rename constraint usage_pkey to usage_unpartitioned_pkey;
create table usage (
  request_id uuid not null references reservations,
  account_id bigint not null references accounts,
  attempt int not null,
  prompt_tokens bigint not null check (prompt_tokens >= 0),
  cached_tokens bigint not null check (cached_tokens between 0 and prompt_tokens),
  completion_tokens bigint not null check (completion_tokens >= 0),
  delivered_tokens bigint not null check (delivered_tokens >= 0),
  outcome text not null,
  started_at timestamptz not null,
  first_token_ms double precision,
  duration_ms double precision not null,
  cost_nanousd bigint not null check (cost_nanousd >= 0),
  settled_at timestamptz not null,
  primary key (request_id, settled_at)
) partition by range (settled_at);
create index usage_by_time on usage using brin (settled_at) with (pages_per_range = 16);
-- What no month was made for in time. Empty while the cron runs (add_usage_months).
create table usage_default partition of usage default;
insert into usage
  (request_id, account_id, attempt, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome, started_at,
   first_token_ms, duration_ms, cost_nanousd, settled_at)
select request_id, account_id, attempt, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome, started_at,
  first_token_ms, duration_ms, cost_nanousd, settled_at from usage_unpartitioned;
drop table usage_unpartitioned;

create table usage_daily (
  account_id bigint not null references accounts,
  day date not null, -- of UTC, when it was settled
  key_id bigint not null references keys,
  model text not null,
  price_version int not null,
  request_count bigint not null,
  prompt_tokens bigint not null,
  cached_tokens bigint not null,
  completion_tokens bigint not null,
  cost_nanousd bigint not null,
  primary key (account_id, day, key_id, model, price_version)
) with (fillfactor = 50); -- today's rows are as hot as their accounts
insert into usage_daily
select u.account_id, (u.settled_at at time zone 'UTC')::date, r.key_id, r.model, r.price_version, count(*), sum(prompt_tokens),
  sum(cached_tokens), sum(completion_tokens), sum(cost_nanousd)
from usage u join reservations r using (request_id) group by 1, 2, 3, 4, 5;

-- One item of a call of settle, decided: what the steps of a settlement hand to each other (migrations/functions/settle.sql).
create type settlement as (
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
  created_at timestamptz, -- the reservation's, as is:
  tokens_max bigint
);
