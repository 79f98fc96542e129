-- Endpoints of webhooks: how one is shown, made, changed and asked about. Whoever changes one has its account locked.

create function ledger.endpoint_report(endpoint webhook_endpoints) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', endpoint.id::text,
    'name', endpoint.name,
    'url', endpoint.url,
    'event_types', to_jsonb(endpoint.event_types),
    'signature_type', endpoint.signature_type,
    'hint', endpoint.hint,
    'public_key', endpoint.public_key,
    'both_until', iso(endpoint.both_until),
    'created_at', iso(endpoint.created_at),
    'updated_at', iso(endpoint.updated_at),
    'disabled_at', iso(endpoint.disabled_at),
    'disabled_reason', endpoint.disabled_reason,
    'failing_since', iso(endpoint.failing_since))
$$;

create function ledger.endpoints_max() returns int language sql immutable as $$ select 20 $$; -- of one account

-- The endpoint that is asked about, and why it may not be, or null. Another account's is as good as missing.
create function ledger.asked_endpoint(item jsonb, out asker keys, out endpoint webhook_endpoints, out refusal text)
language plpgsql as $$
begin
  asker := asker_of(item);
  select * into endpoint from webhook_endpoints
  where id = (item ->> 'endpoint_id')::bigint and account_id = asker.account_id and kind = 'webhook';
  refusal := coalesce(asker_refusal(asker, item, 'webhooks'), case when endpoint.id is null then 'not_found' end);
end $$;

-- The secrets that sign now, as the gateway sealed them.
create function ledger.sealed_secrets(endpoint webhook_endpoints) returns jsonb language sql stable as $$
  select jsonb_agg(encode(secret, 'base64')) from unnest(array[
    endpoint.secret, case when endpoint.both_until > clock_timestamp() then endpoint.old_secret end]) as secret
  where secret is not null
$$;

-- The items, once the accounts that ask and the endpoints that they name are locked.
create function ledger.locking_endpoints(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_accounts(array(
    select account_id from keys where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i)));
  perform lock_endpoints(items);
  return query select jsonb_array_elements(items);
end $$;

-- What the functions of these names in `api` do with one item.
create function ledger.create_webhook_endpoint(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'webhooks');
  endpoint webhook_endpoints;
begin
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  select * into endpoint from webhook_endpoints where created_by = (item ->> 'created_by')::uuid and account_id = asker.account_id;
  if endpoint.id is null and (
    select count(*) from webhook_endpoints where account_id = asker.account_id and kind = 'webhook') >= endpoints_max() then
    return '{"decision": "too_many_webhook_endpoints"}';
  elsif endpoint.id is null then
    insert into webhook_endpoints
      (account_id, created_by, name, url, event_types, signature_type, secret, hint, public_key, sealed_by)
    select asker.account_id, i.created_by, i.name, i.url, i.event_types, i.signature_type, decode(item ->> 'sealed', 'base64'), i.hint,
      i.public_key, i.sealed_by
    from jsonb_populate_record(null::webhook_endpoints, item - 'sealed') as i
    returning * into endpoint;
  end if;
  return jsonb_build_object('decision', 'created', 'endpoint', endpoint_report(endpoint));
end $$;

create function ledger.read_webhook_endpoint(item jsonb) returns jsonb language sql as $$
  select allowed('endpoint', endpoint_report(endpoint), refusal)
    || case when refusal is null and item -> 'with_secrets' = 'true'
      then jsonb_build_object('secrets', coalesce(sealed_secrets(endpoint), '[]')) else '{}' end
  from asked_endpoint(item)
$$;

-- What is asked for again changes nothing, and does not count as a change.
create function ledger.update_webhook_endpoint(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_endpoint(item);
  before webhook_endpoints := asked.endpoint;
  wanted webhook_endpoints := jsonb_populate_record(before, (item -> 'fields') - 'status');
  is_disabled boolean := coalesce(item -> 'fields' ->> 'status' = 'disabled', before.disabled_at is not null);
  after webhook_endpoints;
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal, 'endpoint', null);
  end if;
  update webhook_endpoints set
    name = wanted.name, url = wanted.url, event_types = wanted.event_types,
    disabled_at = case when is_disabled then coalesce(disabled_at, clock_timestamp()) end,
    disabled_reason = case when is_disabled then coalesce(disabled_reason, 'requested') end,
    failing_since = case when is_disabled then failing_since when before.disabled_at is null and before.url = wanted.url then failing_since end,
    is_slow = is_slow and before.url = wanted.url,
    resting_until = case when before.url = wanted.url then resting_until end
  where id = before.id returning * into after;
  if (before.name, before.url, before.event_types, before.disabled_at) is distinct from (after.name, after.url, after.event_types, after.disabled_at) then
    update webhook_endpoints set updated_at = clock_timestamp() where id = before.id returning * into after;
  end if;
  return jsonb_build_object('decision', 'allowed', 'endpoint', endpoint_report(after));
end $$;

-- What waited for it goes with it; what it was sent goes with the events.
create function ledger.delete_webhook_endpoint(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_endpoint(item);
  endpoint webhook_endpoints := asked.endpoint;
begin
  if asked.refusal is null then
    delete from webhook_endpoints where id = endpoint.id;
    delete from webhook_deliveries where endpoint_id = endpoint.id and state = 'pending';
  end if;
  return jsonb_build_object('decision', coalesce(asked.refusal, 'deleted'));
end $$;

create function ledger.rotate_webhook_secret(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_endpoint(item);
  endpoint webhook_endpoints := asked.endpoint;
begin
  if asked.refusal is null and endpoint.rotated_by is distinct from (item ->> 'rotated_by')::uuid then
    update webhook_endpoints set
      old_secret = case when item -> 'keeps_old' = 'true' then secret end,
      both_until = case when item -> 'keeps_old' = 'true' then clock_timestamp() + interval '24 hours' end,
      secret = decode(item ->> 'sealed', 'base64'), hint = item ->> 'hint', public_key = item ->> 'public_key',
      sealed_by = item ->> 'sealed_by', rotated_by = (item ->> 'rotated_by')::uuid, updated_at = clock_timestamp()
    where id = endpoint.id returning * into endpoint;
  end if;
  return jsonb_build_object('decision', coalesce(asked.refusal, 'rotated'))
    || case when asked.refusal is null then jsonb_build_object('endpoint', endpoint_report(endpoint)) else '{}' end;
end $$;

-- One delivery is sent again, whatever became of it, and goes through the schedule anew.
create function ledger.resend_webhook_delivery(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_endpoint(item);
  endpoint webhook_endpoints := asked.endpoint;
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  elsif endpoint.disabled_at is not null then
    return '{"decision": "webhook_endpoint_disabled"}';
  end if;
  update webhook_deliveries set state = 'pending', due_at = clock_timestamp(), tries = 0
  where id = (item ->> 'delivery_id')::bigint and endpoint_id = endpoint.id;
  return jsonb_build_object('decision', case when found then 'resent' else 'not_found' end);
end $$;

-- Sends what an endpoint has missed since a moment, the oldest first: what failed, and what happened while it was disabled or full or was not
-- there yet. `limit` at most; what then is left is got by asking again.
create function ledger.recover_webhook_deliveries(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_endpoint(item);
  endpoint webhook_endpoints := asked.endpoint;
  missed bigint[];
  count_max int := (item ->> 'limit')::int;
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  elsif endpoint.disabled_at is not null then
    return '{"decision": "webhook_endpoint_disabled"}';
  end if;
  missed := array(
    select o.id from outbox o left join webhook_deliveries d on d.event_id = o.id and d.endpoint_id = endpoint.id
    where o.account_id = endpoint.account_id and o.created_at >= (item ->> 'since')::timestamptz and o.type = any (endpoint.event_types)
      and coalesce(d.state, 'failed') = 'failed'
    order by o.id limit count_max + 1);
  insert into webhook_deliveries (account_id, endpoint_id, event_id, due_at)
  select endpoint.account_id, endpoint.id, id, clock_timestamp() from unnest(missed) with ordinality as m (id, place)
  where place <= count_max
  on conflict (event_id, endpoint_id) do update set state = 'pending', due_at = excluded.due_at, tries = 0;
  return jsonb_build_object(
    'decision', 'recovered', 'count', least(cardinality(missed), count_max), 'has_more', cardinality(missed) > count_max);
end $$;

-- Secrets that another secret of the deployment sealed, those of endpoints after `after`.
create function ledger.list_sealed_secrets(item jsonb) returns jsonb language sql stable as $$
  select jsonb_build_object('decision', 'listed', 'secrets', coalesce(jsonb_agg(jsonb_build_object(
    'endpoint_id', id::text, 'sealed', encode(secret, 'base64'), 'old_sealed', encode(old_secret, 'base64')) order by id), '[]'))
  from (
    select * from webhook_endpoints
    where secret is not null and sealed_by <> item ->> 'sealed_by' and id > (item ->> 'after')::bigint
    order by id limit (item ->> 'count_max')::int) as others
$$;

-- The same secret, sealed anew; not where it has been rotated meanwhile.
create function ledger.reseal_secret(item jsonb) returns jsonb language plpgsql as $$
begin
  update webhook_endpoints set
    secret = decode(item ->> 'sealed', 'base64'), old_secret = decode(item ->> 'old_sealed', 'base64'), sealed_by = item ->> 'sealed_by'
  where id = (item ->> 'endpoint_id')::bigint and secret = decode(item ->> 'before', 'base64');
  return jsonb_build_object('decision', case when found then 'resealed' else 'superseded' end);
end $$;
