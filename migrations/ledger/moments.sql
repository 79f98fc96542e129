-- Time: how it is written, counted and cut into months.

-- Time as it travels: ISO 8601, in UTC, to the millisecond.
create or replace function iso(moment timestamptz) returns text language sql immutable as $$
  select to_char(moment at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

create or replace function now_us() returns bigint language sql volatile as $$
  select (extract(epoch from clock_timestamp()) * 1000000)::bigint
$$;

create or replace function this_month() returns date language sql volatile as $$
  select date_trunc('month', clock_timestamp() at time zone 'utc')::date
$$;
