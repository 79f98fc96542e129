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

create function ledger.insert_key(key keys) returns keys language plpgsql as $$
begin
  insert into keys
    (account_id, name, hash, prefix, last_four, scopes, models, expires_at, tags, allowed_ips, requests_per_minute,
     tokens_per_minute, requests_in_flight_max, monthly_spend_cap_nanousd, rotated_from, metered_as)
  values (
    key.account_id, key.name, key.hash, key.prefix, key.last_four, key.scopes, key.models, key.expires_at, key.tags,
    key.allowed_ips, key.requests_per_minute, key.tokens_per_minute, key.requests_in_flight_max,
    key.monthly_spend_cap_nanousd, key.rotated_from, key.metered_as)
  returning * into key;
  perform emit(key.account_id, 'key.created', key_notice(key));
  return key;
end $$;

-- Expects the account to be locked: what was admitted before is seen here and stopped, what comes later is refused there.
create function ledger.revoke(revoked keys, told_as text) returns keys language plpgsql as $$
declare
  key keys;
begin
  update keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = revoked.id returning * into key;
  update reservations set stopped_at = clock_timestamp()
  where account_id = key.account_id and key_id = key.id and state = 'pending' and stopped_at is null
    and created_at > clock_timestamp() - interval '1 day'; -- none is pending so long: the index is of times
  if revoked.revoked_at is null then
    perform emit(key.account_id, told_as, key_notice(key));
  end if;
  return key;
end $$;

-- Whether the key and the one that replaces it, or that it replaced, both work.
create function ledger.is_overlapping(key keys) returns boolean language sql stable as $$
  select exists (
    select from keys k
    where account_id = key.account_id and (rotated_from = key.id or k.id = key.rotated_from)
      and revoked_at is null and coalesce(expires_at, 'infinity') > clock_timestamp())
$$;

-- What the functions of these names in `api` do with one item. They have locked its account.
create function ledger.create_key(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item);
  owner bigint := coalesce(asker.account_id, (item ->> 'account_id')::bigint);
  key keys := jsonb_populate_record(asker, item);
begin
  key.tags := coalesce(case when item ? 'tags' then key.tags end, '{}'); -- of this key alone
  refusal := coalesce(refusal, case when not exists (select from accounts where id = owner) then 'unknown_account' end);
  if refusal is null and exists (select from keys where hash = decode(item ->> 'hash', 'hex')) then
    select * into key from keys where hash = decode(item ->> 'hash', 'hex') and account_id = owner;
    return jsonb_build_object('decision', 'created', 'key_id', key.id::text, 'key', key_report(key));
  elsif refusal is not null then
    return jsonb_build_object('decision', refusal);
  elsif exceeds(asker, key) is not null then
    return exceeding(asker, key, key);
  elsif limit_of(asker) is not null and other_limit(asker, key) is not null then
    return jsonb_build_object('decision', 'limits_are_shared', 'param', other_limit(asker, key));
  elsif (select count(*) from keys where account_id = owner and revoked_at is null) >= keys_max() then
    return jsonb_build_object('decision', 'too_many_keys');
  else
    key.hash := decode(item ->> 'hash', 'hex');
    key.account_id := owner;
    key.metered_as := case when limit_of(asker) is not null then meter_of(asker) end;
    key.rotated_from := null;
    key := insert_key(key);
    perform audit(item, 'create_key', owner, 'key ' || key.id, null, key_report(key));
    return jsonb_build_object('decision', 'created', 'key_id', key.id::text, 'key', key_report(key));
  end if;
end $$;

create function ledger.update_key(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_key(item);
  key keys := asked.key;
  wanted keys := jsonb_populate_record(key, item -> 'fields');
  before jsonb := key_report(key);
  answer jsonb := case
    when asked.refusal is not null then jsonb_build_object('decision', asked.refusal)
    when key.revoked_at is not null then '{"decision": "already_revoked"}'
    else exceeding(asked.asker, key, wanted)
  end;
begin
  if answer is null then
    update keys set
      name = wanted.name, scopes = wanted.scopes, models = wanted.models, expires_at = wanted.expires_at,
      tags = wanted.tags, allowed_ips = wanted.allowed_ips
    where id = key.id;
    update keys set
      requests_per_minute = wanted.requests_per_minute, tokens_per_minute = wanted.tokens_per_minute,
      requests_in_flight_max = wanted.requests_in_flight_max, monthly_spend_cap_nanousd = wanted.monthly_spend_cap_nanousd
    where account_id = key.account_id and meter_of(keys) = meter_of(key) and revoked_at is null
      and other_limit(keys, wanted) is not null;
    select * into key from keys where id = key.id;
    perform audit(item, 'update_key', key.account_id, 'key ' || key.id, before, key_report(key));
  end if;
  return coalesce(answer, jsonb_build_object('decision', 'allowed', 'key', key_report(key)));
end $$;

create function ledger.rotate_key(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_key(item);
  key keys := asked.key;
  successor keys;
  answer jsonb;
begin
  select * into successor from keys where rotated_from = key.id and hash = decode(item ->> 'hash', 'hex');
  answer := case
    when asked.refusal is not null then jsonb_build_object('decision', asked.refusal)
    when successor.id is null and (key.revoked_at is not null or key.expires_at <= clock_timestamp()) then
      '{"decision": "already_revoked"}'
    -- Else who may make no keys would make many, each the next one's.
    when successor.id is null and key_refusal(asked.asker, 'keys', item) = 'missing_scope' and is_overlapping(key) then
      '{"decision": "rotation_running"}'
    when exceeds(asked.asker, key) is null and limit_of(asked.asker) is not null and meter_of(asked.asker) <> meter_of(key) then
      jsonb_build_object('decision', 'exceeds_own_key', 'param', limit_of(asked.asker))
    else exceeding(asked.asker, key, key)
  end;
  if answer is null and successor.id is null then
    successor := jsonb_populate_record(key, jsonb_build_object('prefix', item -> 'prefix', 'last_four', item -> 'last_four'));
    successor.hash := decode(item ->> 'hash', 'hex');
    successor.rotated_from := key.id;
    successor.metered_as := meter_of(key);
    successor := insert_key(successor);
    update keys set expires_at = least(expires_at, clock_timestamp() + (item ->> 'overlap_s')::bigint * interval '1 second')
    where id = key.id;
    perform audit(item, 'rotate_key', key.account_id, 'key ' || key.id, key_report(key), key_report(k)) from keys k where k.id = key.id;
    perform audit(item, 'rotate_key', key.account_id, 'key ' || successor.id, null, key_report(successor));
  end if;
  return coalesce(answer, jsonb_build_object('decision', 'created', 'key', key_report(successor)));
end $$;

create function ledger.revoke_key(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_key(item);
  key keys := asked.key;
  revoked keys;
begin
  if asked.refusal is null then
    revoked := revoke(key, 'key.revoked');
    perform audit(item, 'revoke_key', key.account_id, 'key ' || key.id, key_report(key), key_report(revoked));
  end if;
  return jsonb_build_object('decision', coalesce(asked.refusal, 'revoked'), 'key', key_report(revoked));
end $$;

create function ledger.leak_key(item jsonb) returns jsonb language plpgsql as $$
declare
  key keys;
begin
  select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
  if key.id is null then
    return jsonb_build_object('decision', 'unknown_key');
  else
    if key.revoked_at is null then
      key := revoke(key, 'key.leaked');
    end if;
    return jsonb_build_object('decision', 'revoked', 'key_id', key.id::text, 'revoked_at', iso(key.revoked_at));
  end if;
end $$;
