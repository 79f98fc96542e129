-- What nodes say of themselves, which of them may, and which can be asked.

-- A node that has been silent for longer is not asked, and another process may speak for it.
create function ledger.is_live(last_seen_at timestamptz) returns boolean language sql as $$
  select coalesce(last_seen_at > clock_timestamp() - interval '5 seconds', false)
$$;

-- The nodes that can take a request for a model now: [{id, url, running, waiting}], an empty array where there is none; of a request whose
-- answer is to be verified, those that do so in its language. Their addresses are those that they were registered with.
create function ledger.live_nodes(wanted text, verified text default null) returns jsonb language plpgsql as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', id, 'url', url, 'running', running, 'waiting', waiting)), '[]')
    from registered_nodes
    where (model = wanted or wanted = any (adapters) and model = (select base from adapters where id = wanted))
      and state = 'ready' and drained_at is null and is_live(last_seen_at)
      and (verified is null or verified = any (verifies)));
end $$;

-- The models and adapters that some node can take a request for now.
create function ledger.served_models() returns jsonb language sql as $$
  select coalesce(jsonb_agg(distinct served), '[]') from registered_nodes, served_by(model, adapters) as served
  where state = 'ready' and drained_at is null and is_live(last_seen_at)
$$;

-- Why a node's report is not taken, or null where it is. What it is signed with was checked by the gateway: here it is said whose that
-- key is. A process may repeat or reorder nothing, and only one may speak for a node.
create function ledger.report_refusal(known registered_nodes, said jsonb, moment timestamptz) returns text language sql as $$
  select case
    when known.id is null then 'unknown_node'
    when said ->> 'key' <> known.key and not coalesce(said ->> 'key' = known.old_key and moment < known.old_key_until, false)
      then 'unknown_node_key'
    when said ->> 'url' <> known.url then 'other_node_url'
    when said ->> 'model' <> known.model then 'other_node_model'
    when abs(skew_ms(said, moment)) > report_age_ms_max() then 'stale_report'
    when known.boot_id is null then null
    when (said ->> 'boot_id')::uuid = known.boot_id then
      case when (said ->> 'sequence')::bigint <= known.sequence then 'repeated_report' end
    when (said ->> 'folder_id')::uuid = known.folder_id then
      case when (said ->> 'boot_number')::bigint <= known.boot_number then 'second_process' end
    when is_live(known.last_seen_at) and coalesce(known.state <> 'stopped', false) then 'second_process'
    when to_timestamp((said ->> 'sent_unix_ms')::double precision / 1000) <= known.sent_at then 'stale_report'
  end
$$;

-- Of these functions in `api` those that the login of this session may not call, or that are not there.
create function ledger.missing_of(needs jsonb) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(name order by name), '[]') from jsonb_array_elements_text(needs) as needed (name)
  where not coalesce(has_function_privilege(session_user, to_regproc('api.' || quote_ident(name))::oid, 'execute'), false)
$$;

create function ledger.report_age_ms_max() returns int language sql immutable as $$
  select 30000
$$;

-- How far the report's time is ahead of the database's. A report that was held up looks like a clock that is behind.
create function ledger.skew_ms(said jsonb, moment timestamptz) returns bigint language sql immutable as $$
  select (said ->> 'sent_unix_ms')::bigint - (extract(epoch from moment) * 1000)::bigint
$$;

create function ledger.heard(said jsonb) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'seen', 'stop', ids_to_stop(said -> 'running_ids'), 'ledger_id', (select id from ledger_identity))
$$;

-- Takes a node's report of itself, or says why not. Asked again by the same report_id it is the same answer.
create function ledger.hear_node(said jsonb) returns jsonb language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
  known registered_nodes;
  refusal text;
  jobs int;
begin
  perform life_began_at(); -- each second, so that after a crash it is soon known when it was
  select * into known from registered_nodes where id = said ->> 'node_id' for update;
  if known.report_id = (said ->> 'report_id')::uuid then
    return heard(said);
  end if;
  refusal := report_refusal(known, said, moment);
  if refusal is not null then
    perform note_refusal(case when known.id is null then '' else known.id end, refusal, said - 'running_ids');
    return jsonb_build_object('decision', refusal, 'skew_ms', skew_ms(said, moment));
  end if;
  jobs := jobs_for(known, said);
  update registered_nodes set
    state = said ->> 'state', context_tokens = (said ->> 'context_tokens')::int, running = (said ->> 'running')::int,
    waiting = (said ->> 'waiting')::int, blocks_total = (said ->> 'blocks_total')::int,
    blocks_free = (said ->> 'blocks_free')::int, last_seen_at = moment,
    -- A gateway of the release before passes it not on; a process that was not heard saying it is of that release.
    verifies = case
      when said ? 'verifies' then array(select jsonb_array_elements_text(said -> 'verifies'))
      when boot_id = (said ->> 'boot_id')::uuid then verifies
      else '{}' end,
    boot_id = (said ->> 'boot_id')::uuid, folder_id = (said ->> 'folder_id')::uuid, boot_number = (said ->> 'boot_number')::bigint,
    -- A gateway of the release before does not say which.
    adapters = case when said ? 'adapters' then array(select jsonb_array_elements_text(said -> 'adapters')) else adapters end,
    sequence = (said ->> 'sequence')::bigint, report_id = (said ->> 'report_id')::uuid,
    sent_at = to_timestamp((said ->> 'sent_unix_ms')::double precision / 1000)
  where id = known.id;
  return heard(said) || case when jobs > 0 then jsonb_build_object('jobs', jobs) else '{}' end;
end $$;

-- Of the requests that a node says it runs, those that may not any longer: they were stopped, or what they held was given back. It is
-- told of no other, so that no other hides one.
create function ledger.ids_to_stop(running_ids jsonb) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(request_id), '[]') from reservations
  where (state = 'pending' and stopped_at is not null or state = 'voided')
    and request_id = any (array(select id::uuid from jsonb_array_elements_text(running_ids) as named (id)))
$$;

-- Adds up what was refused; returns how many there were in this hour.
create function ledger.note_refusal(node text, why text, last_detail jsonb) returns bigint language sql as $$
  insert into node_refusals as r (node_id, reason, count, hour, count_in_hour, detail)
  values (node, why, 1, date_trunc('hour', clock_timestamp(), 'UTC'), 1, last_detail)
  on conflict (node_id, reason) do update set
    count = r.count + 1, last_at = excluded.first_at, hour = excluded.hour, detail = excluded.detail,
    count_in_hour = case when r.hour = excluded.hour then r.count_in_hour + 1 else 1 end
  returning count_in_hour
$$;

create function ledger.node_report(known registered_nodes) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', known.id, 'url', known.url, 'model', known.model, 'public_key', known.key,
    'old_key_until', iso(known.old_key_until), 'drained_at', iso(known.drained_at), 'created_at', iso(known.created_at),
    'state', known.state, 'running', known.running, 'waiting', known.waiting, 'last_seen_at', iso(known.last_seen_at),
    'refusals', coalesce((select sum(count) from node_refusals where node_id = known.id), 0))
$$;

-- Registers a node. One of the same id is an error unless all of it is the same, or {replace} says that it is to be changed.
create function ledger.create_node(item jsonb) returns jsonb language plpgsql as $$
declare
  known registered_nodes;
  made registered_nodes;
begin
  perform pg_advisory_xact_lock(hashtext('registered_nodes'));
  select * into known from registered_nodes where id = item ->> 'id';
  if is_key_taken(item) then
    return '{"decision": "key_taken"}';
  elsif known.id is not null and not coalesce((item ->> 'replace')::boolean, false)
    and (known.url, known.model, known.key) is distinct from (item ->> 'url', item ->> 'model', item ->> 'key') then
    return '{"decision": "node_exists"}';
  end if;
  insert into registered_nodes (id, url, model, key) values (item ->> 'id', item ->> 'url', item ->> 'model', item ->> 'key')
  on conflict (id) do update set url = excluded.url, model = excluded.model, key = excluded.key,
    -- The process that spoke for it is of the past where what it is was changed.
    state = case when item ? 'replace' then null else registered_nodes.state end
  returning * into made;
  perform audit_node(item, 'create_node', known, made);
  return jsonb_build_object('decision', 'created', 'node', node_report(made));
end $$;

-- Writes down who changed which node: what an operator decides, not what the node says.
create function ledger.audit_node(item jsonb, action text, before registered_nodes, after registered_nodes) returns void
language sql as $$
  select audit(item, action, null, 'node ' || coalesce(before.id, after.id),
    case when before.id is not null then registration(before) end, case when after.id is not null then registration(after) end)
$$;

create function ledger.registration(known registered_nodes) returns jsonb language sql stable as $$
  select node_report(known) - array['state', 'running', 'waiting', 'last_seen_at', 'refusals', 'created_at']
$$;

-- A key is one node's: with that of another it could speak as the other.
create function ledger.is_key_taken(item jsonb) returns boolean language sql stable as $$
  select exists (select from registered_nodes where id <> item ->> 'id' and item ->> 'key' in (key, old_key))
$$;

-- Changes what is given: its address, its model, whether it is given anything new.
create function ledger.update_node(item jsonb) returns jsonb language plpgsql as $$
declare
  known registered_nodes;
  changed registered_nodes;
begin
  select * into known from registered_nodes where id = item ->> 'id' for update;
  update registered_nodes set
    url = coalesce(item ->> 'url', url), model = coalesce(item ->> 'model', model),
    drained_at = case (item ->> 'drain')::boolean
      when true then coalesce(drained_at, clock_timestamp()) when false then null else drained_at end
  where id = item ->> 'id' returning * into changed;
  if changed.id is null then
    return '{"decision": "not_found"}';
  end if;
  perform audit_node(item, 'update_node', known, changed);
  return jsonb_build_object('decision', 'updated', 'node', node_report(changed));
end $$;

-- Gives a node another key; the one before works on for a while. Asked again with the same key it is the same.
create function ledger.rotate_node_key(item jsonb) returns jsonb language plpgsql as $$
declare
  known registered_nodes;
  rotated registered_nodes;
begin
  perform pg_advisory_xact_lock(hashtext('registered_nodes'));
  select * into known from registered_nodes where id = item ->> 'id' for update;
  if is_key_taken(item) then
    return '{"decision": "key_taken"}';
  end if;
  update registered_nodes set
    key = item ->> 'key',
    old_key = case when key = item ->> 'key' then old_key else key end,
    old_key_until = case when key = item ->> 'key' then old_key_until
      else clock_timestamp() + (item ->> 'overlap_s')::bigint * interval '1 second' end
  where id = item ->> 'id' returning * into rotated;
  if rotated.id is null then
    return '{"decision": "not_found"}';
  end if;
  perform audit_node(item, 'rotate_node_key', known, rotated);
  return jsonb_build_object('decision', 'rotated', 'node', node_report(rotated));
end $$;

-- What a removed node reports is refused, and nothing new is given to it.
create function ledger.remove_node(item jsonb) returns jsonb language plpgsql as $$
declare
  removed registered_nodes;
begin
  delete from registered_nodes where id = item ->> 'id' returning * into removed;
  if removed.id is null then
    return '{"decision": "not_found"}';
  end if;
  perform audit_node(item, 'remove_node', removed, null);
  return jsonb_build_object('decision', 'removed', 'node', node_report(removed));
end $$;
