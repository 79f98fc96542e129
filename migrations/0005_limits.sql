-- What a key, and the account behind it, may take of the service; and the meters that hold each to it.

alter table keys
  add column tags text[] not null default '{}',
  add column allowed_ips cidr[], -- null: from anywhere; an IPv4 address is never written as a mapped IPv6 one
  -- Null: no limit of its own, the account's holds.
  add column requests_per_minute bigint check (requests_per_minute > 0),
  add column tokens_per_minute bigint check (tokens_per_minute > 0),
  add column requests_in_flight_max bigint check (requests_in_flight_max > 0),
  add column monthly_spend_cap_nanousd bigint check (monthly_spend_cap_nanousd >= 0),
  add column rotated_from bigint references keys,
  add constraint known_scopes check (scopes <@ array['generate', 'usage', 'keys', 'webhooks', 'admin']);
drop index keys_account_id_idx;
create index on keys (account_id, id);

alter table accounts -- null: what the deployment says (wrangler.toml)
  add column requests_per_minute bigint check (requests_per_minute > 0),
  add column tokens_per_minute bigint check (tokens_per_minute > 0),
  add column requests_in_flight_max bigint check (requests_in_flight_max > 0),
  add column monthly_spend_cap_nanousd bigint check (monthly_spend_cap_nanousd >= 0);

-- What has been taken: a row for each account (key_id 0) and each key, written only by who holds the account's lock. A bucket's
-- level is what is in it of a whole minute's worth, in 1/60,000,000 of a request or token: it drains by the limit each
-- microsecond, so that the arithmetic is of integers and exact.
create table meters (
  account_id bigint not null references accounts,
  key_id bigint not null,
  requests_level bigint not null default 0 check (requests_level >= 0),
  tokens_level bigint not null default 0 check (tokens_level >= 0),
  tokens_per_minute bigint, -- that the last admission went by: what settle drains the bucket with
  levels_at_us bigint not null default 0, -- microseconds since 1970, by the database's clock
  requests_in_flight bigint not null default 0 check (requests_in_flight >= 0),
  held_nanousd bigint not null default 0 check (held_nanousd >= 0),
  month date not null default '1970-01-01', -- the month, of UTC, in which this was charged:
  charged_nanousd bigint not null default 0 check (charged_nanousd >= 0),
  last_used_at timestamptz,
  primary key (account_id, key_id)
) with (fillfactor = 50);

create function add_account_meter() returns trigger language plpgsql as $$
begin
  insert into meters (account_id, key_id) values (new.id, 0);
  return null;
end $$;
create function add_key_meter() returns trigger language plpgsql as $$
begin
  insert into meters (account_id, key_id) values (new.account_id, new.id);
  return null;
end $$;
create trigger accounts_are_metered after insert on accounts for each row execute function add_account_meter();
create trigger keys_are_metered after insert on keys for each row execute function add_key_meter();

alter table reservations
  add column tokens_max bigint not null default 0, -- what tokens per minute were charged with at admission
  add column stopped_at timestamptz; -- its key was revoked while it ran: its node is told to stop
create index reservations_to_stop on reservations (stopped_at) where state = 'pending' and stopped_at is not null;

insert into meters (account_id, key_id, requests_in_flight, held_nanousd)
select a.id, 0, count(r), coalesce(sum(r.amount_nanousd), 0)
from accounts a left join reservations r on r.account_id = a.id and r.state = 'pending' group by a.id;
insert into meters (account_id, key_id, requests_in_flight, held_nanousd)
select k.account_id, k.id, count(r), coalesce(sum(r.amount_nanousd), 0)
from keys k left join reservations r on r.key_id = k.id and r.state = 'pending' group by k.account_id, k.id;
update meters m set month = date_trunc('month', clock_timestamp() at time zone 'utc'), charged_nanousd = charged.amount_nanousd
from (
  select u.account_id, r.key_id, sum(u.cost_nanousd) as amount_nanousd from usage u join reservations r using (request_id)
  where u.settled_at >= date_trunc('month', clock_timestamp(), 'utc')
  group by grouping sets ((u.account_id, r.key_id), (u.account_id))) as charged
where m.account_id = charged.account_id and m.key_id = coalesce(charged.key_id, 0);

-- What the end of a reservation gives back to the meters, or corrects in them (migrations/functions/limits.sql).
create type ended as (
  account_id bigint,
  key_id bigint,
  was_pending boolean, -- it was still held: its money and its place are given back
  amount_nanousd bigint, -- that was held
  charged_nanousd bigint,
  tokens_max bigint, -- as charged at admission
  tokens bigint -- as used; null where nobody knows
);
