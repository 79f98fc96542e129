-- Operators and their keys: who may do what, how they are shown, made and ended.

create function ledger.operator_report(operator operators) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', operator.id::text, 'name', operator.name, 'role', operator.role,
    'created_at', iso(operator.created_at), 'ended_at', iso(operator.ended_at))
$$;

create function ledger.operator_key_report(key operator_keys) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', key.id::text,
    'operator_id', key.operator_id::text,
    'prefix', key.prefix,
    'last_four', key.last_four,
    'created_at', iso(key.created_at),
    'expires_at', iso(key.expires_at),
    'revoked_at', iso(key.revoked_at),
    'last_used_at', iso(key.last_used_at),
    'rotated_from', key.rotated_from::text)
$$;

-- How many keys an operator may have that were not revoked.
create function ledger.operator_keys_max() returns int language sql immutable as $$ select 20 $$;

-- Changes of operators are rare: one after the other, so that what one call reads no other call changes.
create function ledger.lock_operators() returns void language sql as $$
  select pg_advisory_xact_lock(hashtext('operators'))
$$;

-- Whose key it is that asks. That it was used is written down once a minute.
create function ledger.identify_operator(item jsonb) returns jsonb language plpgsql as $$
declare
  key operator_keys;
  operator operators;
begin
  select * into key from operator_keys
  where hash = decode(item ->> 'key_hash', 'hex') and revoked_at is null and (expires_at is null or expires_at > clock_timestamp());
  select * into operator from operators where id = key.operator_id and ended_at is null;
  if operator.id is null then
    return '{"decision": "unknown_operator"}';
  end if;
  update operator_keys set last_used_at = clock_timestamp()
  where id = key.id and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute');
  return jsonb_build_object(
    'decision', 'allowed', 'operator_id', operator.id::text, 'key_id', key.id::text, 'name', operator.name, 'role', operator.role,
    'key', operator_key_report(key));
end $$;

-- Asked again by the same request it is the same operator.
create function ledger.create_operator(item jsonb) returns jsonb language plpgsql as $$
declare
  operator operators;
begin
  perform lock_operators();
  select * into operator from operators where created_by = (item ->> 'created_by')::uuid;
  if operator.id is null then
    if exists (select from operators where name = item ->> 'name' and ended_at is null) then
      return '{"decision": "name_taken"}';
    end if;
    insert into operators (name, role, created_by) values (item ->> 'name', item ->> 'role', (item ->> 'created_by')::uuid)
    returning * into operator;
    perform audit(item, 'create_operator', null, 'operator ' || operator.id, null, operator_report(operator));
  end if;
  return jsonb_build_object('decision', 'created', 'operator', operator_report(operator));
end $$;

-- What is not among the fields stays. One that was ended stays so.
create function ledger.update_operator(item jsonb) returns jsonb language plpgsql as $$
declare
  fields jsonb := item -> 'fields';
  before operators;
  operator operators;
begin
  perform lock_operators();
  select * into before from operators where id = (item ->> 'operator_id')::bigint and ended_at is null;
  if before.id is null then
    return '{"decision": "not_found"}';
  elsif exists (select from operators where name = fields ->> 'name' and ended_at is null and id <> before.id) then
    return '{"decision": "name_taken"}';
  end if;
  update operators set name = coalesce(fields ->> 'name', name), role = coalesce(fields ->> 'role', role)
  where id = before.id returning * into operator;
  perform audit(item, 'update_operator', null, 'operator ' || operator.id, operator_report(before), operator_report(operator));
  return jsonb_build_object('decision', 'allowed', 'operator', operator_report(operator));
end $$;

-- Ends an operator, and every key of it.
create function ledger.end_operator(item jsonb) returns jsonb language plpgsql as $$
declare
  before operators;
  operator operators;
begin
  perform lock_operators();
  select * into before from operators where id = (item ->> 'operator_id')::bigint;
  if before.id is null then
    return '{"decision": "not_found"}';
  end if;
  update operators set ended_at = coalesce(ended_at, clock_timestamp()) where id = before.id returning * into operator;
  update operator_keys set revoked_at = clock_timestamp() where operator_id = before.id and revoked_at is null;
  perform audit(item, 'end_operator', null, 'operator ' || operator.id, operator_report(before), operator_report(operator));
  return jsonb_build_object('decision', 'allowed', 'operator', operator_report(operator));
end $$;

-- A new key of an operator, or one in the place of another. Asked again with the same hash it is the same key.
create function ledger.insert_operator_key(item jsonb, owner bigint, replaced bigint) returns operator_keys language sql as $$
  insert into operator_keys (operator_id, hash, prefix, last_four, expires_at, rotated_from)
  values (
    owner, decode(item ->> 'hash', 'hex'), item ->> 'prefix', item ->> 'last_four', (item ->> 'expires_at')::timestamptz, replaced)
  returning *
$$;

create function ledger.create_operator_key(item jsonb) returns jsonb language plpgsql as $$
declare
  owner bigint := (item ->> 'operator_id')::bigint;
  key operator_keys;
begin
  perform lock_operators();
  select * into key from operator_keys where hash = decode(item ->> 'hash', 'hex') and operator_id = owner;
  if key.id is null then
    if not exists (select from operators where id = owner and ended_at is null) then
      return '{"decision": "not_found"}';
    elsif (select count(*) from operator_keys where operator_id = owner and revoked_at is null) >= operator_keys_max() then
      return '{"decision": "too_many_keys"}';
    end if;
    key := insert_operator_key(item, owner, null);
    perform audit(item, 'create_operator_key', null, 'operator key ' || key.id, null, operator_key_report(key));
  end if;
  return jsonb_build_object('decision', 'created', 'key', operator_key_report(key));
end $$;

-- The replaced key goes on to work for {overlap_s}. A key that is over is replaced by none.
create function ledger.rotate_operator_key(item jsonb) returns jsonb language plpgsql as $$
declare
  key operator_keys;
  successor operator_keys;
begin
  perform lock_operators();
  select * into key from operator_keys where id = (item ->> 'key_id')::bigint;
  select * into successor from operator_keys where rotated_from = key.id and hash = decode(item ->> 'hash', 'hex');
  if key.id is null then
    return '{"decision": "not_found"}';
  elsif successor.id is null then
    if key.revoked_at is not null or key.expires_at <= clock_timestamp() then
      return '{"decision": "already_revoked"}';
    end if;
    successor := insert_operator_key(item, key.operator_id, key.id);
    update operator_keys set
      expires_at = least(expires_at, clock_timestamp() + (item ->> 'overlap_s')::bigint * interval '1 second')
    where id = key.id;
    perform audit(item, 'rotate_operator_key', null, 'operator key ' || key.id, operator_key_report(key), operator_key_report(k))
    from operator_keys k where k.id = key.id;
    perform audit(item, 'rotate_operator_key', null, 'operator key ' || successor.id, null, operator_key_report(successor));
  end if;
  return jsonb_build_object('decision', 'created', 'key', operator_key_report(successor));
end $$;

create function ledger.revoke_operator_key(item jsonb) returns jsonb language plpgsql as $$
declare
  before operator_keys;
  key operator_keys;
begin
  perform lock_operators();
  select * into before from operator_keys where id = (item ->> 'key_id')::bigint;
  if before.id is null then
    return '{"decision": "not_found"}';
  end if;
  update operator_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = before.id returning * into key;
  perform audit(item, 'revoke_operator_key', null, 'operator key ' || key.id, operator_key_report(before), operator_key_report(key));
  return jsonb_build_object('decision', 'revoked', 'key', operator_key_report(key));
end $$;
