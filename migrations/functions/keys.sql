-- The functions a gateway calls all have one form: a JSON array of items in, one JSON answer an item out, in order. So whatever
-- queued while the last call ran goes as one statement. All of them may be asked again: a repeated item gets the same answer.

-- Every function that moves money locks the accounts it touches first, all at once and in the order of their ids. Two calls
-- can therefore wait for each other but never in a circle, and whoever holds an account holds its reservations too.
create or replace function lock_accounts(ids bigint[]) returns void language plpgsql as $$
begin
  perform 1 from accounts where id = any (ids) order by id for no key update;
end $$;

-- Why this key may not do this, or null where it may. `item` carries the caller's address: a key that is bound to addresses is
-- refused where none is known. The scope `admin` is every scope, on the key's own account.
drop function if exists key_refusal(keys, text);
create or replace function key_refusal(key keys, scope text, item jsonb default null) returns text language sql as $$
  select case
    when key.id is null then 'unknown_key'
    when key.revoked_at is not null then 'revoked_key'
    when key.expires_at <= clock_timestamp() then 'expired_key'
    when not coalesce(key.allowed_ips is null or (item ->> 'address')::inet <<= any (key.allowed_ips), false) then
      'address_not_allowed'
    when not key.scopes && array[scope, 'admin'] then 'missing_scope'
  end
$$;

drop function if exists authenticate(jsonb);

-- Time as it travels: ISO 8601, in UTC, to the millisecond.
create or replace function iso(moment timestamptz) returns text language sql immutable as $$
  select to_char(moment at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The key whose meter counts what this one uses. Keys with one meter have the same limits, so that its buckets are exact: it drains as
-- fast whichever of them asks.
create or replace function meter_of(key keys) returns bigint language sql immutable as $$
  select coalesce(key.metered_as, key.id)
$$;

-- A key as it is shown: everything but what could be used.
create or replace function key_report(key keys) returns jsonb language sql stable as $$
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

-- Who asks about keys: a key of the account, with the scope for it, or the operator ({operator: true}), whose asker is null.
create or replace function asker_of(item jsonb) returns keys language sql stable as $$
  select k from keys k where hash = decode(item ->> 'key_hash', 'hex') and not item ? 'operator'
$$;

create or replace function asker_refusal(asker keys, item jsonb, scope text default 'keys') returns text language sql as $$
  select case when item -> 'operator' = 'true' then null else key_refusal(asker, scope, item) end
$$;

-- Locks the accounts whose keys are asked about, before anything is read of who asks: what a revocation has ended is seen as ended.
create or replace function lock_accounts_of(items jsonb) returns void language plpgsql as $$
begin
  perform lock_accounts(array(
    select coalesce(asker.account_id, asked_about.account_id, (i ->> 'account_id')::bigint)
    from jsonb_array_elements(items) as i
    left join keys asker on not i ? 'operator' and asker.hash = decode(i ->> 'key_hash', 'hex')
    left join keys asked_about on i ? 'operator' and asked_about.id = (i ->> 'key_id')::bigint));
end $$;

drop function if exists key_asked_about(jsonb, keys);
-- Who asks about which key, and why they may not, or null. A key of another account is as good as missing.
create or replace function asked_key(item jsonb, out asker keys, out key keys, out refusal text) language plpgsql stable as $$
begin
  asker := asker_of(item);
  select * into key from keys k
  where k.id = (item ->> 'key_id')::bigint and (asker.id is null or k.account_id = asker.account_id);
  refusal := coalesce(asker_refusal(asker, item), case when key.id is null then 'not_found' end);
end $$;

-- The account that is asked about, the asker's own or the one that the operator names, and why it may not be seen, or null.
create or replace function asked_account(item jsonb, out account accounts, out refusal text) language plpgsql stable as $$
declare
  asker keys := asker_of(item);
begin
  select * into account from accounts where id = coalesce(asker.account_id, (item ->> 'account_id')::bigint);
  refusal := coalesce(asker_refusal(asker, item, 'usage'), case when account.id is null then 'not_found' end);
end $$;

-- The field in which a key would get more than the one that makes it has, or null. The operator may give anything.
create or replace function exceeds(asker keys, wanted keys) returns text language sql stable as $$
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
create or replace function exceeding(asker keys, key keys, wanted keys) returns jsonb language sql as $$
  select jsonb_build_object('decision', 'exceeds_own_key', 'param', param)
  from (select coalesce(exceeds(asker, key), exceeds(asker, wanted)) as param) as more where param is not null
$$;

create or replace function keys_max() returns int language sql immutable as $$ select 1000 $$; -- of one account, revoked ones not counted

-- The first limit that a key has, or null. The keys it makes then share its limits and its meter: however many they are, together
-- they use what it may.
create or replace function limit_of(key keys) returns text language sql immutable as $$
  select case
    when key.requests_per_minute is not null then 'requests_per_minute'
    when key.tokens_per_minute is not null then 'tokens_per_minute'
    when key.requests_in_flight_max is not null then 'requests_in_flight_max'
    when key.monthly_spend_cap_nanousd is not null then 'monthly_spend_cap_nanousd'
  end
$$;
drop function if exists is_limited(keys);

-- The first limit in which two keys differ, or null.
create or replace function other_limit(a keys, b keys) returns text language sql immutable as $$
  select case
    when a.requests_per_minute is distinct from b.requests_per_minute then 'requests_per_minute'
    when a.tokens_per_minute is distinct from b.tokens_per_minute then 'tokens_per_minute'
    when a.requests_in_flight_max is distinct from b.requests_in_flight_max then 'requests_in_flight_max'
    when a.monthly_spend_cap_nanousd is distinct from b.monthly_spend_cap_nanousd then 'monthly_spend_cap_nanousd'
  end
$$;

-- What is not said a key inherits from the one that makes it. Asked again with the same hash it is the same key.
create or replace function create_key(items jsonb) returns setof jsonb language plpgsql as $$
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

create or replace function insert_key(key keys) returns keys language sql as $$
  insert into keys
    (account_id, name, hash, prefix, last_four, scopes, models, expires_at, tags, allowed_ips, requests_per_minute,
     tokens_per_minute, requests_in_flight_max, monthly_spend_cap_nanousd, rotated_from, metered_as)
  values (
    key.account_id, key.name, key.hash, key.prefix, key.last_four, key.scopes, key.models, key.expires_at, key.tags,
    key.allowed_ips, key.requests_per_minute, key.tokens_per_minute, key.requests_in_flight_max,
    key.monthly_spend_cap_nanousd, key.rotated_from, key.metered_as)
  returning *
$$;

-- The newest first, `limit` at most, those before `after`; one more than asked for tells whether there are more.
create or replace function list_keys(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  refusal text;
begin
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    refusal := asker_refusal(asker, item);
    return next jsonb_build_object('decision', coalesce(refusal, 'allowed'), 'keys', (
      select coalesce(jsonb_agg(key_report(k) order by k.id desc), '[]') from (
        select * from keys
        where refusal is null
          and account_id = coalesce(asker.account_id, (item ->> 'account_id')::bigint)
          and (item ->> 'after' is null or id < (item ->> 'after')::bigint)
        order by id desc limit (item ->> 'limit')::int + 1) as k));
  end loop;
end $$;

create or replace function read_key(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'), 'key', case when refusal is null then key_report(key) end)
  from jsonb_array_elements(items) as item, asked_key(item)
$$;

-- A key changes no key that has more than itself, and gives none more than it has. A limit that is changed is changed for all that
-- share it.
create or replace function update_key(items jsonb) returns setof jsonb language plpgsql as $$
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
-- Its secret goes to who asks: a key with limits gets none that counts on another meter, for that would be a second allowance.
create or replace function rotate_key(items jsonb) returns setof jsonb language plpgsql as $$
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

-- Expects the account to be locked: what was admitted before is seen here and stopped, what comes later is refused there.
create or replace function revoke(revoked keys) returns keys language plpgsql as $$
declare
  key keys;
begin
  update keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = revoked.id returning * into key;
  update reservations set stopped_at = clock_timestamp()
  where account_id = key.account_id and key_id = key.id and state = 'pending' and stopped_at is null
    and created_at > clock_timestamp() - interval '1 day'; -- none is pending so long: the index is of times
  return key;
end $$;

-- Any key with the scope may revoke any of its account: that takes nothing that a limit protects.
create or replace function revoke_key(items jsonb) returns setof jsonb language plpgsql as $$
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
create or replace function leak_key(items jsonb) returns setof jsonb language plpgsql as $$
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
