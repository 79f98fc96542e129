-- What a request takes of the limits of its key and its account, and what its end gives back. All of it under the account's lock.

create or replace function now_us() returns bigint language sql volatile as $$
  select (extract(epoch from clock_timestamp()) * 1000000)::bigint
$$;

-- One request or token, in the unit of a bucket's level.
create or replace function level_unit() returns bigint language sql immutable as $$ select 60000000::bigint $$;

-- What is left in a bucket after a while. (No product here can overflow: it drains no longer than until it is empty.)
create or replace function drained(level bigint, per_minute bigint, elapsed_us bigint) returns bigint language sql immutable as $$
  select greatest(0, level - per_minute * least(greatest(elapsed_us, 0), level / per_minute + 1))
$$;

-- GCRA, as a leaky bucket: the two decide alike (ITU-T I.371, annex A), and this one needs only integers. The bucket holds a
-- minute's worth and drains evenly; what would make it overflow is refused and leaves it as it was. `retry_us` is when the same
-- cost would be admitted, null where it never is. Without a limit everything is admitted.
create or replace function gcra(
  level_before bigint, per_minute bigint, cost bigint, elapsed_us bigint,
  out is_admitted boolean, out level bigint, out remaining bigint, out reset_us bigint, out retry_us bigint
) language plpgsql immutable as $$
declare
  unit bigint := 60000000; -- level_unit(), folded
  level_max bigint := per_minute * unit;
  asked bigint := least(cost, per_minute + 1) * unit;
begin
  if per_minute is null then
    is_admitted := true;
    level := level_before;
    return;
  end if;
  level := drained(level_before, per_minute, elapsed_us);
  is_admitted := level + asked <= level_max;
  if is_admitted then
    level := level + asked;
  elsif cost <= per_minute then
    retry_us := (level + asked - level_max + per_minute - 1) / per_minute;
  end if;
  remaining := greatest(0, level_max - level) / unit;
  reset_us := (level + per_minute - 1) / per_minute;
end $$;

-- A bucket's level after `tokens` more (fewer, where negative) than it was charged with are known to have been used, as of a
-- moment `elapsed_us` after the level's own, which it keeps. What is given back never makes a bucket emptier than empty; what is
-- charged on top may overfill it, and the next requests wait.
create or replace function corrected(level bigint, per_minute bigint, tokens bigint, elapsed_us bigint) returns bigint
language sql immutable as $$
  select case
    when tokens <= 0 then greatest(0, level::numeric + tokens::numeric * 60000000)
    else least(greatest(level, coalesce(per_minute, 0)::numeric * greatest(elapsed_us, 0)) + tokens::numeric * 60000000, 4e18)
  end::bigint
$$;

create or replace function this_month() returns date language sql volatile as $$
  select date_trunc('month', clock_timestamp() at time zone 'utc')::date
$$;

-- Every end of a reservation comes through here, in the statement that ends it: requests in flight and held money cannot leak.
-- A limit must never keep a bill from being settled, so nothing here can fail.
create or replace function correct_limits(ends ended[]) returns void language plpgsql as $$
declare
  month_now date := this_month();
  moment_us bigint := now_us();
begin
  update meters m set
    requests_in_flight = greatest(0, m.requests_in_flight - e.places),
    held_nanousd = greatest(0, m.held_nanousd - e.held_nanousd),
    month = month_now,
    charged_nanousd = case when m.month = month_now then m.charged_nanousd else 0 end + e.charged_nanousd,
    tokens_level = corrected(m.tokens_level, m.tokens_per_minute, e.tokens, moment_us - m.levels_at_us)
  from (
    select
      e.account_id, coalesce(coalesce(k.metered_as, k.id), 0) as key_id, -- of each key, and of the account
      count(*) filter (where was_pending) as places,
      coalesce(sum(amount_nanousd) filter (where was_pending), 0)::bigint as held_nanousd,
      coalesce(sum(charged_nanousd), 0)::bigint as charged_nanousd,
      coalesce(sum(tokens - tokens_max) filter (where was_pending), 0)::bigint as tokens
    from unnest(ends) as e join keys k on k.id = e.key_id
    group by grouping sets ((e.account_id, coalesce(k.metered_as, k.id)), (e.account_id))) as e
  where m.account_id = e.account_id and m.key_id = e.key_id;
end $$;
