-- Time: how it is written, counted and cut into months.

-- Time as it travels: ISO 8601, in UTC, to the millisecond.
create function ledger.iso(moment timestamptz) returns text language sql immutable as $$
  select to_char(moment at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

create function ledger.now_us() returns bigint language sql volatile as $$
  select (extract(epoch from clock_timestamp()) * 1000000)::bigint
$$;

create function ledger.this_month() returns date language sql volatile as $$
  select date_trunc('month', clock_timestamp() at time zone 'utc')::date
$$;
