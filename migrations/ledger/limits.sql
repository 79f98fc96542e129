-- What a request takes of the limits of its key and its account, and what its end gives back. All of it under the account's lock.

-- One request or token, in the unit of a bucket's level.
create function ledger.level_unit() returns bigint language sql immutable as $$ select 60000000::bigint $$;

-- What is left in a bucket after a while. (No product here can overflow: it drains no longer than until it is empty.)
create function ledger.drained(level bigint, per_minute bigint, elapsed_us bigint) returns bigint language sql immutable as $$
  select greatest(0, level - per_minute * least(greatest(elapsed_us, 0), level / per_minute + 1))
$$;

-- GCRA, as a leaky bucket: the two decide alike (ITU-T I.371, annex A), and this one needs only integers. The bucket holds a
-- minute's worth and drains evenly; what would make it overflow is refused and leaves it as it was. `retry_us` is when the same
-- cost would be admitted, null where it never is. Without a limit everything is admitted.
create function ledger.gcra(
  level_before bigint, per_minute bigint, cost bigint, elapsed_us bigint,
  out is_admitted boolean, out level bigint, out remaining bigint, out reset_us bigint, out retry_us bigint
) language plpgsql immutable as $$
declare
  unit bigint := 60000000; -- level_unit(), folded
  level_max bigint := per_minute * unit;
  asked bigint;
begin
  if per_minute is null then
    is_admitted := true;
    level := level_before;
    return;
  end if;
  asked := least(cost, per_minute + 1) * unit;
  level := drained(level_before, per_minute, elapsed_us);
  is_admitted := asked <= level_max - level; -- an overfilled bucket and a large request: their sum may not fit
  if is_admitted then
    level := level + asked;
  elsif cost <= per_minute then
    retry_us := (level - level_max + asked + per_minute - 1) / per_minute;
  end if;
  remaining := greatest(0, level_max - level) / unit;
  reset_us := (level + per_minute - 1) / per_minute;
end $$;

-- A bucket's level after `tokens` more (fewer, where negative) than it was charged with are known to have been used, as of a
-- moment `elapsed_us` after the level's own, which it keeps. What is given back never makes a bucket emptier than empty; what is
-- charged on top may overfill it, and the next requests wait.
create function ledger.corrected(level bigint, per_minute bigint, tokens bigint, elapsed_us bigint) returns bigint
language sql immutable as $$
  select case
    when tokens <= 0 then greatest(0, level::numeric + tokens::numeric * 60000000)
    else least(greatest(level, coalesce(per_minute, 0)::numeric * greatest(elapsed_us, 0)) + tokens::numeric * 60000000, 9.2e18)
  end::bigint
$$;

-- Every end of a reservation comes through here, in the statement that ends it: requests in flight and held money cannot leak.
-- A limit must never keep a bill from being settled, so nothing here can fail.
create function ledger.correct_limits(ends ended[]) returns void language plpgsql as $$
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

-- One limit as a client is shown it: of key and account, the one that leaves less.
create function ledger.shown_limit(own_max bigint, own record, whole_max bigint, whole record) returns jsonb
language plpgsql immutable as $$
begin
  if own_max is null and whole_max is null then
    return null;
  elsif whole_max is null or own.remaining <= whole.remaining then
    return jsonb_build_object('limit', own_max, 'remaining', own.remaining, 'reset_us', own.reset_us);
  end if;
  return jsonb_build_object('limit', whole_max, 'remaining', whole.remaining, 'reset_us', whole.reset_us);
end $$;

-- Whether the limits of a key and of its account let a request run, with the meters as they are if it does. What is refused takes
-- nothing. `defaults` are those of the deployment, for an account that has none of its own.
create function ledger.decide_limits(
  key keys, account accounts, own meters, whole meters, defaults jsonb, tokens bigint, amount numeric, moment_us bigint
) returns limit_decision language plpgsql as $$
declare
  whole_requests_max bigint := coalesce(account.requests_per_minute, (defaults ->> 'requests_per_minute')::bigint);
  whole_tokens_max bigint := coalesce(account.tokens_per_minute, (defaults ->> 'tokens_per_minute')::bigint);
  whole_in_flight_max bigint := coalesce(account.requests_in_flight_max, (defaults ->> 'requests_in_flight_max')::bigint);
  own_requests record;
  own_tokens record;
  whole_requests record;
  whole_tokens record;
  month date := date_trunc('month', to_timestamp(moment_us / 1000000) at time zone 'utc')::date;
  decided limit_decision;
begin
  decided.shown := '{}';
  if coalesce(key.requests_per_minute, key.tokens_per_minute, whole_requests_max, whole_tokens_max) is not null then
    own_requests := gcra(own.requests_level, key.requests_per_minute, 1, moment_us - own.levels_at_us);
    own_tokens := gcra(own.tokens_level, key.tokens_per_minute, tokens, moment_us - own.levels_at_us);
    whole_requests := gcra(whole.requests_level, whole_requests_max, 1, moment_us - whole.levels_at_us);
    whole_tokens := gcra(whole.tokens_level, whole_tokens_max, tokens, moment_us - whole.levels_at_us);
    decided.shown := jsonb_strip_nulls(jsonb_build_object(
      'requests', shown_limit(key.requests_per_minute, own_requests, whole_requests_max, whole_requests),
      'tokens', shown_limit(key.tokens_per_minute, own_tokens, whole_tokens_max, whole_tokens)));
    decided.refusal := case
      when not (own_requests.is_admitted and whole_requests.is_admitted) then 'requests_per_minute'
      when tokens > least(key.tokens_per_minute, whole_tokens_max) then 'request_too_large'
      when not (own_tokens.is_admitted and whole_tokens.is_admitted) then 'tokens_per_minute'
    end;
    if decided.refusal is not null then
      -- All buckets have to let it in: the one that takes longest says when.
      decided.shown := decided.shown || jsonb_build_object('retry_us', case when decided.refusal <> 'request_too_large' then
        greatest(own_requests.retry_us, whole_requests.retry_us, own_tokens.retry_us, whole_tokens.retry_us) end);
      return decided;
    end if;
    own := filled(own, own_requests, own_tokens, moment_us);
    whole := filled(whole, whole_requests, whole_tokens, moment_us);
  end if;
  decided.refusal := case
    when own.requests_in_flight >= key.requests_in_flight_max or whole.requests_in_flight >= whole_in_flight_max then
      'requests_in_flight'
    when own.held_nanousd + amount + case when own.month = month then own.charged_nanousd else 0 end
         > key.monthly_spend_cap_nanousd
      or whole.held_nanousd + amount + case when whole.month = month then whole.charged_nanousd else 0 end
         > account.monthly_spend_cap_nanousd then 'spend_cap_reached'
  end;
  if decided.refusal is not null then
    decided.shown := decided.shown || '{"retry_us": null}';
    return decided;
  end if;
  own.tokens_per_minute := key.tokens_per_minute;
  whole.tokens_per_minute := whole_tokens_max;
  decided.own := taken(own, amount, moment_us);
  decided.whole := taken(whole, amount, moment_us);
  return decided;
end $$;

-- A meter with what its buckets hold after a request.
create function ledger.filled(meter meters, requests record, tokens record, moment_us bigint) returns meters
language plpgsql immutable as $$
begin
  meter.requests_level := requests.level;
  meter.tokens_level := tokens.level;
  if coalesce(requests.remaining, tokens.remaining) is not null then -- who has no bucket does not stop it from draining for those who do
    meter.levels_at_us := greatest(meter.levels_at_us, moment_us); -- a clock set back drains nothing twice
  end if;
  return meter;
end $$;

-- A meter with one request more in flight.
create function ledger.taken(meter meters, amount numeric, moment_us bigint) returns meters language plpgsql immutable as $$
begin
  meter.requests_in_flight := meter.requests_in_flight + 1;
  meter.held_nanousd := least(meter.held_nanousd + amount, 9e18)::bigint;
  meter.last_used_at := to_timestamp(moment_us / 1000000.0);
  return meter;
end $$;
