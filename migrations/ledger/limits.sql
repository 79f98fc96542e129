-- What a request takes of the limits of its key and its account, and what its end gives back. All of it under the account's lock.

-- One request or token, in the unit of a bucket's level.
create function ledger.level_unit() returns bigint language sql immutable as $$ select 60000000::bigint $$;

-- What is left in a bucket after a while. (No product here can overflow: it drains no longer than until it is empty.)
create function ledger.drained(level bigint, per_minute bigint, elapsed_us bigint) returns bigint language sql immutable as $$
  select greatest(0, level - per_minute * least(greatest(elapsed_us, 0), level / per_minute + 1))
$$;

-- GCRA, as a leaky bucket: the two decide alike (ITU-T I.371, annex A), and this one needs only integers. The bucket holds a
-- minute's worth and drains evenly; what would make it overflow is refused and leaves it as it was. Without a limit everything is
-- admitted.
create function ledger.gcra(level_before bigint, per_minute bigint, cost bigint, elapsed_us bigint) returns ledger.bucket
language plpgsql immutable as $$
declare
  unit bigint := 60000000; -- level_unit(), folded
  level_max bigint := per_minute * unit;
  asked bigint;
  bucket ledger.bucket;
begin
  if per_minute is null then
    bucket.is_admitted := true;
    bucket.level := level_before;
    return bucket;
  end if;
  asked := least(cost, per_minute + 1) * unit;
  bucket.level := drained(level_before, per_minute, elapsed_us);
  bucket.is_admitted := asked <= level_max - bucket.level; -- an overfilled bucket and a large request: their sum may not fit
  if bucket.is_admitted then
    bucket.level := bucket.level + asked;
  elsif cost <= per_minute then
    bucket.retry_us := (bucket.level - level_max + asked + per_minute - 1) / per_minute;
  end if;
  bucket.remaining := greatest(0, level_max - bucket.level) / unit;
  bucket.reset_us := (bucket.level + per_minute - 1) / per_minute;
  return bucket;
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
    charged_nanousd = greatest(0, case when m.month = month_now then m.charged_nanousd else 0 end + e.charged_nanousd),
    tokens_level = corrected(m.tokens_level, m.tokens_per_minute, e.tokens, moment_us - m.levels_at_us)
  from (
    select
      e.account_id, coalesce(coalesce(k.metered_as, k.id), 0) as key_id, -- of each key, and of the account
      count(*) filter (where was_pending) as places,
      coalesce(sum(amount_nanousd) filter (where was_pending), 0)::bigint as held_nanousd,
      coalesce(sum(charged_nanousd), 0)::bigint as charged_nanousd,
      coalesce(sum(tokens - charged_tokens_max) filter (where was_pending), 0)::bigint as tokens
    from unnest(ends) as e join keys k on k.id = e.key_id
    group by grouping sets ((e.account_id, coalesce(k.metered_as, k.id)), (e.account_id))) as e
  where m.account_id = e.account_id and m.key_id = e.key_id;
end $$;

-- Whether the limits of a key and of its account let a request run, with the meters as they are if it does. What is refused takes
-- nothing.
create function ledger.decide_limits(key keys, account accounts, own meters, whole meters, demand ledger.demand)
returns ledger.limit_decision language plpgsql as $$
declare
  moment_us bigint := demand.moment_us;
  amount numeric := demand.amount_nanousd;
  month date := date_trunc('month', to_timestamp(moment_us / 1000000) at time zone 'utc')::date;
  decided ledger.limit_decision;
begin
  if demand.defaults is not null then
    account := with_default_limits(account, demand.defaults);
  end if;
  if coalesce(key.requests_per_minute, key.tokens_per_minute, account.requests_per_minute, account.tokens_per_minute) is null then
    decided := row(null, '{}'::jsonb, own, whole, null);
  else
    decided := decide_rates(key, account, own, whole, demand.tokens, moment_us);
    if decided.refusal is not null then
      return decided;
    end if;
  end if;
  decided.refusal := hold_refusal(key, account, own, whole, amount, month);
  if decided.refusal is not null then
    decided.shown := decided.shown || '{"retry_us": null}';
    return decided;
  end if;
  decided.own := taken(decided.own, key.tokens_per_minute, amount, moment_us);
  decided.whole := taken(decided.whole, account.tokens_per_minute, amount, moment_us);
  return decided;
end $$;

-- What is answered to a request that was asked before (null where it was not), and what it takes, which is a request and nothing else.
create function ledger.decide_repeat(key keys, account accounts, own meters, whole meters, item jsonb, moment_us bigint)
returns ledger.limit_decision language plpgsql as $$
declare
  verdict jsonb := idempotency_verdict(account.id, item -> 'idempotency', item ? 'results_by_id');
  decided ledger.limit_decision;
begin
  if verdict is null and not item ? 'is_begun' then
    return null;
  elsif verdict is null then
    verdict := '{"decision": "idempotency_unknown"}';
  elsif verdict ->> 'decision' = 'idempotency_running' and item ? 'resumes' then
    verdict := coalesce(resumption(key, item -> 'idempotency'), verdict);
  end if;
  if item ? 'limits' then
    account := with_default_limits(account, item -> 'limits');
  end if;
  if coalesce(key.requests_per_minute, account.requests_per_minute) is not null then
    decided := decide_rates(key, account, own, whole, 0, moment_us);
  end if;
  decided.answer := case when decided.refusal is null then verdict
    else jsonb_build_object('decision', decided.refusal, 'limits', decided.shown) end;
  return decided;
end $$;

-- An account that has no limits of its own has those of the deployment.
create function ledger.with_default_limits(account accounts, defaults jsonb) returns accounts language plpgsql immutable as $$
begin
  account.requests_per_minute := coalesce(account.requests_per_minute, (defaults ->> 'requests_per_minute')::bigint);
  account.tokens_per_minute := coalesce(account.tokens_per_minute, (defaults ->> 'tokens_per_minute')::bigint);
  account.requests_in_flight_max := coalesce(account.requests_in_flight_max, (defaults ->> 'requests_in_flight_max')::bigint);
  return account;
end $$;

-- The part of it that is of requests and tokens a minute.
create function ledger.decide_rates(
  key keys, account accounts, own meters, whole meters, tokens bigint, moment_us bigint
) returns ledger.limit_decision language plpgsql immutable as $$
declare
  own_requests ledger.bucket := gcra(own.requests_level, key.requests_per_minute, 1, moment_us - own.levels_at_us);
  own_tokens ledger.bucket := gcra(own.tokens_level, key.tokens_per_minute, tokens, moment_us - own.levels_at_us);
  whole_requests ledger.bucket := gcra(whole.requests_level, account.requests_per_minute, 1, moment_us - whole.levels_at_us);
  whole_tokens ledger.bucket := gcra(whole.tokens_level, account.tokens_per_minute, tokens, moment_us - whole.levels_at_us);
  decided ledger.limit_decision;
begin
  decided.shown := jsonb_strip_nulls(jsonb_build_object(
    'requests', shown_limit(key.requests_per_minute, own_requests, account.requests_per_minute, whole_requests),
    'tokens', shown_limit(key.tokens_per_minute, own_tokens, account.tokens_per_minute, whole_tokens)));
  decided.refusal := case
    when not (own_requests.is_admitted and whole_requests.is_admitted) then 'requests_per_minute'
    when tokens > least(key.tokens_per_minute, account.tokens_per_minute) then 'request_too_large'
    when tokens > 0 and not (own_tokens.is_admitted and whole_tokens.is_admitted) then 'tokens_per_minute'
  end;
  if decided.refusal is not null then
    -- All buckets have to let it in: the one that takes longest says when.
    decided.shown := decided.shown || jsonb_build_object('retry_us', case when decided.refusal <> 'request_too_large' then
      greatest(own_requests.retry_us, whole_requests.retry_us, own_tokens.retry_us, whole_tokens.retry_us) end);
    return decided;
  end if;
  decided.own := filled(own, own_requests, own_tokens, moment_us);
  decided.whole := filled(whole, whole_requests, whole_tokens, moment_us);
  return decided;
end $$;

-- One limit as a client is shown it: of key and account, the one that leaves less.
create function ledger.shown_limit(own_max bigint, own ledger.bucket, whole_max bigint, whole ledger.bucket) returns jsonb
language plpgsql immutable as $$
begin
  if own_max is null and whole_max is null then
    return null;
  elsif whole_max is null or own.remaining <= whole.remaining then
    return jsonb_build_object('limit', own_max, 'remaining', own.remaining, 'reset_us', own.reset_us);
  end if;
  return jsonb_build_object('limit', whole_max, 'remaining', whole.remaining, 'reset_us', whole.reset_us);
end $$;

-- A meter with what its buckets hold after a request.
create function ledger.filled(meter meters, requests ledger.bucket, tokens ledger.bucket, moment_us bigint) returns meters
language plpgsql immutable as $$
begin
  meter.requests_level := requests.level;
  meter.tokens_level := tokens.level;
  if coalesce(requests.remaining, tokens.remaining) is not null then -- who has no bucket does not stop it from draining for those who do
    meter.levels_at_us := greatest(meter.levels_at_us, moment_us); -- a clock set back drains nothing twice
  end if;
  return meter;
end $$;

-- Why nothing more may be in flight or held, or null.
create function ledger.hold_refusal(
  key keys, account accounts, own meters, whole meters, amount numeric, month date
) returns text language sql immutable as $$
  select case
    when own.requests_in_flight >= key.requests_in_flight_max or whole.requests_in_flight >= account.requests_in_flight_max then
      'requests_in_flight'
    when own.held_nanousd + amount + case when own.month = month then own.charged_nanousd else 0 end
         > key.monthly_spend_cap_nanousd
      or whole.held_nanousd + amount + case when whole.month = month then whole.charged_nanousd else 0 end
         > account.monthly_spend_cap_nanousd then 'spend_cap_reached'
  end
$$;

-- A meter with one request more in flight, which settle will drain by the limit that holds now.
create function ledger.taken(meter meters, tokens_per_minute bigint, amount numeric, moment_us bigint) returns meters
language plpgsql immutable as $$
begin
  meter.tokens_per_minute := tokens_per_minute;
  meter.requests_in_flight := meter.requests_in_flight + 1;
  meter.held_nanousd := least(meter.held_nanousd + amount, 9e18)::bigint;
  meter.last_used_at := to_timestamp(moment_us / 1000000.0);
  return meter;
end $$;
