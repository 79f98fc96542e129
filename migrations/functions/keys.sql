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
create or replace function key_refusal(key keys, scope text, item jsonb default null) returns text language plpgsql as $$
begin
  return case
    when key.id is null then 'unknown_key'
    when key.revoked_at is not null then 'revoked_key'
    when key.expires_at <= clock_timestamp() then 'expired_key'
    when not coalesce(key.allowed_ips is null or (item ->> 'address')::inet <<= any (key.allowed_ips), false) then
      'address_not_allowed'
    when not key.scopes && array[scope, 'admin'] then 'missing_scope'
  end;
end $$;

create or replace function authenticate(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    return next jsonb_build_object(
      'decision', coalesce(key_refusal(key, item ->> 'scope', item), 'allowed'),
      'account_id', key.account_id::text,
      'models', to_jsonb(key.models));
  end loop;
end $$;

create or replace function create_account(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
begin
  for item in select * from jsonb_array_elements(items) loop
    insert into accounts (name, created_by, overdraft_nanousd)
    values (item ->> 'name', (item ->> 'created_by')::uuid, (item ->> 'overdraft_nanousd')::bigint)
    on conflict (created_by) do nothing;
    select * into account from accounts where created_by = (item ->> 'created_by')::uuid;
    return next jsonb_build_object('decision', 'created', 'account_id', account.id::text);
  end loop;
end $$;

create or replace function create_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key_id bigint;
begin
  for item in select * from jsonb_array_elements(items) loop
    insert into keys (account_id, name, hash, prefix, last_four, scopes, models, expires_at)
    select
      id, item ->> 'name', decode(item ->> 'hash', 'hex'), item ->> 'prefix', item ->> 'last_four',
      array(select jsonb_array_elements_text(item -> 'scopes')),
      case when item -> 'models' <> 'null' then array(select jsonb_array_elements_text(item -> 'models')) end,
      (item ->> 'expires_at')::timestamptz
    from accounts where id = (item ->> 'account_id')::bigint
    on conflict (hash) do nothing;
    select id into key_id from keys
    where hash = decode(item ->> 'hash', 'hex') and account_id = (item ->> 'account_id')::bigint;
    return next jsonb_build_object(
      'decision', case when key_id is null then 'unknown_account' else 'created' end, 'key_id', key_id::text);
  end loop;
end $$;

create or replace function revoke_key(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    update keys set revoked_at = coalesce(revoked_at, clock_timestamp())
    where id = (item ->> 'key_id')::bigint
    returning * into key;
    return next jsonb_build_object(
      'decision', case when key.id is null then 'unknown_key' else 'revoked' end, 'revoked_at', key.revoked_at);
  end loop;
end $$;
