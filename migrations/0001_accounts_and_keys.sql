-- Who pays and who may ask. Every amount is a bigint in nano-USD: sums are exact, and 9.2e18 of them are nine billion dollars.

create table accounts (
  id bigint generated always as identity primary key,
  name text not null,
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  credited_nanousd bigint not null default 0 check (credited_nanousd >= 0),
  debited_nanousd bigint not null default 0 check (debited_nanousd >= 0),
  pending_nanousd bigint not null default 0 check (pending_nanousd >= 0),
  -- Of the debited, what was settled when nothing was held for it any more. Only this may exceed the balance.
  late_nanousd bigint not null default 0 check (late_nanousd >= 0),
  overdraft_nanousd bigint not null default 0 check (overdraft_nanousd >= 0),
  created_at timestamptz not null default clock_timestamp(),
  constraint never_overspent
    check (debited_nanousd - late_nanousd + pending_nanousd <= credited_nanousd + overdraft_nanousd)
) with (fillfactor = 50); -- the only hot rows: room for updates in place

create table keys (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  name text not null,
  hash bytea not null unique check (octet_length(hash) = 32), -- sha256: the key itself is never stored
  prefix text not null,
  last_four text not null,
  scopes text[] not null,
  models text[], -- null: every model
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz
);
create index on keys (account_id);

-- Every function that moves money locks the accounts it touches first, all at once and in the order of their ids. Two calls
-- can therefore wait for each other but never in a circle, and whoever holds an account holds its reservations too.
create function lock_accounts(ids bigint[]) returns void language plpgsql as $$
begin
  perform 1 from accounts where id = any (ids) order by id for no key update;
end $$;

-- Why this key may not do this, or null where it may.
create function key_refusal(key keys, scope text) returns text language plpgsql as $$
begin
  return case
    when key.id is null then 'unknown_key'
    when key.revoked_at is not null then 'revoked_key'
    when key.expires_at <= clock_timestamp() then 'expired_key'
    when scope <> all (key.scopes) then 'missing_scope'
  end;
end $$;

-- The functions a gateway calls all have one form: a JSON array of items in, one JSON answer an item out, in order. So whatever
-- queued while the last call ran goes as one statement. All of them may be asked again: a repeated item gets the same answer.

create function authenticate(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    return next jsonb_build_object(
      'decision', coalesce(key_refusal(key, item ->> 'scope'), 'allowed'),
      'account_id', key.account_id::text,
      'models', to_jsonb(key.models));
  end loop;
end $$;

create function create_account(items jsonb) returns setof jsonb language plpgsql as $$
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

create function create_key(items jsonb) returns setof jsonb language plpgsql as $$
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

create function revoke_key(items jsonb) returns setof jsonb language plpgsql as $$
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
