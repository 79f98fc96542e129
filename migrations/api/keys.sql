-- Keys: who may make, see, change and end them. A key gives none more than it has itself.

-- What is not said a key inherits from the one that makes it. Asked again with the same hash it is the same key.
create function api.create_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  refusal text;
  key keys;
  owner bigint;
begin
  perform lock_accounts_of(items);
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    refusal := asker_refusal(asker, item);
    owner := coalesce(asker.account_id, (item ->> 'account_id')::bigint);
    key := jsonb_populate_record(asker, item);
    key.tags := coalesce(case when item ? 'tags' then key.tags end, '{}'); -- of this key alone
    refusal := coalesce(refusal, case when not exists (select from accounts where id = owner) then 'unknown_account' end);
    if refusal is null and exists (select from keys where hash = decode(item ->> 'hash', 'hex')) then
      select * into key from keys where hash = decode(item ->> 'hash', 'hex') and account_id = owner;
      return next jsonb_build_object('decision', 'created', 'key_id', key.id::text, 'key', key_report(key));
    elsif refusal is not null then
      return next jsonb_build_object('decision', refusal);
    elsif exceeds(asker, key) is not null then
      return next exceeding(asker, key, key);
    elsif limit_of(asker) is not null and other_limit(asker, key) is not null then
      return next jsonb_build_object('decision', 'limits_are_shared', 'param', other_limit(asker, key));
    elsif (select count(*) from keys where account_id = owner and revoked_at is null) >= keys_max() then
      return next jsonb_build_object('decision', 'too_many_keys');
    else
      key.hash := decode(item ->> 'hash', 'hex');
      key.account_id := owner;
      key.metered_as := case when limit_of(asker) is not null then meter_of(asker) end;
      key.rotated_from := null;
      key := insert_key(key);
      return next jsonb_build_object('decision', 'created', 'key_id', key.id::text, 'key', key_report(key));
    end if;
  end loop;
end $$;

create function api.read_key(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'), 'key', case when refusal is null then key_report(key) end)
  from jsonb_array_elements(items) as item, asked_key(item)
$$;

-- A key changes no key that has more than itself, and gives none more than it has. A limit that is changed is changed for all that
-- share it.
create function api.update_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asked record;
  key keys;
  wanted keys;
  answer jsonb;
begin
  perform lock_accounts_of(items);
  for item in select * from jsonb_array_elements(items) loop
    asked := asked_key(item);
    key := asked.key;
    wanted := jsonb_populate_record(key, item -> 'fields');
    answer := case
      when asked.refusal is not null then jsonb_build_object('decision', asked.refusal)
      when key.revoked_at is not null then '{"decision": "already_revoked"}'
      else exceeding(asked.asker, key, wanted)
    end;
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
    end if;
    return next coalesce(answer, jsonb_build_object('decision', 'allowed', 'key', key_report(key)));
  end loop;
end $$;

-- A new key in the place of another, which goes on to work for a while. Asked again with the same hash it is the same key.
-- The new secret goes to whoever asks: a key with limits gets none that counts on another meter, for that would be a second allowance.
create function api.rotate_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asked record;
  key keys;
  successor keys;
  answer jsonb;
begin
  perform lock_accounts_of(items);
  for item in select * from jsonb_array_elements(items) loop
    asked := asked_key(item);
    key := asked.key;
    select * into successor from keys where rotated_from = key.id and hash = decode(item ->> 'hash', 'hex');
    answer := case
      when asked.refusal is not null then jsonb_build_object('decision', asked.refusal)
      when successor.id is null and (key.revoked_at is not null or key.expires_at <= clock_timestamp()) then
        '{"decision": "already_revoked"}'
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
    end if;
    return next coalesce(answer, jsonb_build_object('decision', 'created', 'key', key_report(successor)));
  end loop;
end $$;

-- Any key with the scope may revoke any of its account: that takes nothing that a limit protects.
create function api.revoke_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asked record;
begin
  perform lock_accounts_of(items);
  for item in select * from jsonb_array_elements(items) loop
    asked := asked_key(item);
    return next jsonb_build_object(
      'decision', coalesce(asked.refusal, 'revoked'),
      'key', case when asked.refusal is null then key_report(revoke(asked.key)) end);
  end loop;
end $$;

-- Whoever holds a key may end it, from wherever and whatever else it may do. Its owner is told.
create function api.leak_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  perform lock_accounts_of(items);
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    if key.id is null then
      return next jsonb_build_object('decision', 'unknown_key');
    else
      if key.revoked_at is null then
        key := revoke(key);
        insert into outbox (account_id, kind, payload)
        values (key.account_id, 'key.leaked', jsonb_build_object('key_id', key.id::text, 'name', key.name, 'last_four', key.last_four));
      end if;
      return next jsonb_build_object('decision', 'revoked', 'key_id', key.id::text, 'revoked_at', iso(key.revoked_at));
    end if;
  end loop;
end $$;
