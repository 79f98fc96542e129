-- What a key is: how it is shown, what it has more than another, and how it is made and ended.

-- The key whose meter counts what this one uses. Keys with one meter have the same limits, so that its buckets are exact: it drains as
-- fast whichever of them asks.
create function ledger.meter_of(key keys) returns bigint language sql immutable as $$
  select coalesce(key.metered_as, key.id)
$$;

-- A key as it is shown: everything but what could be used.
create function ledger.key_report(key keys) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', key.id::text,
    'account_id', key.account_id::text,
    'name', key.name,
    'prefix', key.prefix,
    'last_four', key.last_four,
    'scopes', to_jsonb(key.scopes),
    'models', to_jsonb(key.models),
    'tags', to_jsonb(key.tags),
    'allowed_ips', to_jsonb(key.allowed_ips::text[]),
    'requests_per_minute', key.requests_per_minute,
    'tokens_per_minute', key.tokens_per_minute,
    'requests_in_flight_max', key.requests_in_flight_max,
    'monthly_spend_cap_nanousd', key.monthly_spend_cap_nanousd::text,
    'requests_in_flight', m.requests_in_flight,
    'charged_this_month_nanousd', (case when m.month = this_month() then m.charged_nanousd else 0 end)::text,
    'created_at', iso(key.created_at),
    'last_used_at', iso(m.last_used_at),
    'expires_at', iso(key.expires_at),
    'revoked_at', iso(key.revoked_at),
    'rotated_from', key.rotated_from::text,
    'metered_as', meter_of(key)::text)
  from meters m where m.account_id = key.account_id and m.key_id = meter_of(key)
$$;

-- The field in which a key would get more than the one that makes it has, or null. The operator may give anything.
create function ledger.exceeds(asker keys, wanted keys) returns text language sql stable as $$
  select case
    when asker.id is null then null
    when not (asker.scopes @> wanted.scopes or 'admin' = any (asker.scopes)) then 'scopes'
    when asker.models is not null and not coalesce(wanted.models <@ asker.models, false) then 'models'
    when asker.allowed_ips is not null and (wanted.allowed_ips is null or exists (
      select from unnest(wanted.allowed_ips) as range where not range <<= any (asker.allowed_ips))) then 'allowed_ips'
    when asker.requests_per_minute < coalesce(wanted.requests_per_minute, 9e18) then 'requests_per_minute'
    when asker.tokens_per_minute < coalesce(wanted.tokens_per_minute, 9e18) then 'tokens_per_minute'
    when asker.requests_in_flight_max < coalesce(wanted.requests_in_flight_max, 9e18) then 'requests_in_flight_max'
    when asker.monthly_spend_cap_nanousd < coalesce(wanted.monthly_spend_cap_nanousd, 9e18) then 'monthly_spend_cap_nanousd'
    when asker.expires_at < coalesce(wanted.expires_at, 'infinity') then 'expires_at'
  end
$$;

-- The same of a key that is and one that is wanted, as an answer.
create function ledger.exceeding(asker keys, key keys, wanted keys) returns jsonb language sql as $$
  select jsonb_build_object('decision', 'exceeds_own_key', 'param', param)
  from (select coalesce(exceeds(asker, key), exceeds(asker, wanted)) as param) as more where param is not null
$$;

create function ledger.keys_max() returns int language sql immutable as $$ select 1000 $$; -- of one account, revoked ones not counted

-- The first limit that a key has, or null. The keys it makes then share its limits and its meter: however many they are, together
-- they use what it may.
create function ledger.limit_of(key keys) returns text language sql immutable as $$
  select case
    when key.requests_per_minute is not null then 'requests_per_minute'
    when key.tokens_per_minute is not null then 'tokens_per_minute'
    when key.requests_in_flight_max is not null then 'requests_in_flight_max'
    when key.monthly_spend_cap_nanousd is not null then 'monthly_spend_cap_nanousd'
  end
$$;

-- The first limit in which two keys differ, or null.
create function ledger.other_limit(a keys, b keys) returns text language sql immutable as $$
  select case
    when a.requests_per_minute is distinct from b.requests_per_minute then 'requests_per_minute'
    when a.tokens_per_minute is distinct from b.tokens_per_minute then 'tokens_per_minute'
    when a.requests_in_flight_max is distinct from b.requests_in_flight_max then 'requests_in_flight_max'
    when a.monthly_spend_cap_nanousd is distinct from b.monthly_spend_cap_nanousd then 'monthly_spend_cap_nanousd'
  end
$$;

create function ledger.insert_key(key keys) returns keys language sql as $$
  insert into keys
    (account_id, name, hash, prefix, last_four, scopes, models, expires_at, tags, allowed_ips, requests_per_minute,
     tokens_per_minute, requests_in_flight_max, monthly_spend_cap_nanousd, rotated_from, metered_as)
  values (
    key.account_id, key.name, key.hash, key.prefix, key.last_four, key.scopes, key.models, key.expires_at, key.tags,
    key.allowed_ips, key.requests_per_minute, key.tokens_per_minute, key.requests_in_flight_max,
    key.monthly_spend_cap_nanousd, key.rotated_from, key.metered_as)
  returning *
$$;

-- Expects the account to be locked: what was admitted before is seen here and stopped, what comes later is refused there.
create function ledger.revoke(revoked keys) returns keys language plpgsql as $$
declare
  key keys;
begin
  update keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = revoked.id returning * into key;
  update reservations set stopped_at = clock_timestamp()
  where account_id = key.account_id and key_id = key.id and state = 'pending' and stopped_at is null
    and created_at > clock_timestamp() - interval '1 day'; -- none is pending so long: the index is of times
  return key;
end $$;
