-- Responses that are stored: how many bytes of them an account has, and what goes when it has too many.

-- What is asked about: a response, where nothing else is said.
create function ledger.kind_of(item jsonb) returns text language sql immutable as $$ select coalesce(item ->> 'kind', 'response') $$;

create function ledger.keep_response(item jsonb) returns jsonb language plpgsql as $$
declare
  owner bigint := (item ->> 'account_id')::bigint;
  request uuid := (item ->> 'request_id')::uuid;
  made_from bytea := decode(item ->> 'input', 'base64');
  told bytea := decode(item ->> 'response', 'base64');
  size bigint := octet_length(made_from) + octet_length(told);
  excess bigint;
begin
  insert into stored_response_bytes (account_id, bytes) values (owner, 0)
  on conflict (account_id) do update set bytes = stored_response_bytes.bytes
  returning bytes + size - (item ->> 'account_bytes_max')::bigint into excess; -- locked from here on
  if exists (select from stored_responses where account_id = owner and request_id = request) then
    return '{"decision": "kept"}';
  elsif size > (item ->> 'account_bytes_max')::bigint or excess > free_responses(owner, excess) then
    return '{"decision": "no_room"}';
  end if;
  insert into stored_responses (account_id, request_id, input, response, expires_at, kind, model, metadata)
  values (owner, request, made_from, told, clock_timestamp() + interval '30 days', kind_of(item), item ->> 'model', item -> 'metadata');
  update stored_response_bytes set bytes = bytes + size where account_id = owner;
  return '{"decision": "kept"}';
end $$;

-- Takes the oldest of an account away until so many bytes are free, or a thousand are gone; returns how many it freed. The row of the
-- account's bytes is locked.
create function ledger.free_responses(owner bigint, wanted bigint) returns bigint language plpgsql as $$
declare
  freed bigint;
begin
  with oldest as (
    select request_id, octet_length(input) + octet_length(response) as size, created_at from stored_responses
    where account_id = owner and wanted > 0 order by created_at limit 1000),
  summed as (
    select request_id, size, sum(size) over (order by created_at, request_id) - size as before from oldest),
  gone as (
    delete from stored_responses where account_id = owner and request_id in (select request_id from summed where before < wanted)
    returning octet_length(input) + octet_length(response) as size)
  select coalesce(sum(size), 0) into freed from gone;
  update stored_response_bytes set bytes = bytes - freed where account_id = owner and freed > 0;
  return freed;
end $$;

create function ledger.read_responses(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
begin
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  return jsonb_build_object('decision', 'allowed', 'account_id', asker.account_id::text, 'responses', coalesce((
    select jsonb_agg(jsonb_build_object(
      'request_id', request_id, 'response', encode(response, 'base64'), 'metadata', metadata,
      'input', case when item -> 'with_input' = 'true' then encode(input, 'base64') end))
    from stored_responses
    where account_id = asker.account_id and expires_at > clock_timestamp() and kind = kind_of(item)
      and request_id in (select id::uuid from jsonb_array_elements_text(item -> 'request_ids') as named (id))), '[]'));
end $$;

create function ledger.delete_response(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
  was_job boolean;
  freed bigint;
begin
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  was_job := kind_of(item) = 'response' and drop_job(asker.account_id, (item ->> 'request_id')::uuid);
  perform from stored_response_bytes where account_id = asker.account_id for update;
  delete from stored_responses
  where account_id = asker.account_id and request_id = (item ->> 'request_id')::uuid and expires_at > clock_timestamp()
    and kind = kind_of(item)
  returning octet_length(input) + octet_length(response) into freed;
  update stored_response_bytes set bytes = bytes - freed where account_id = asker.account_id and freed > 0;
  return jsonb_build_object('decision', case when freed is null and not was_job then 'not_found' else 'deleted' end);
end $$;

create function ledger.forget_responses(item jsonb) returns jsonb language plpgsql as $$
declare
  owners bigint[];
  places tid[];
begin
  select array_agg(distinct account_id), array_agg(ctid) into owners, places from (
    select account_id, ctid from stored_responses
    where expires_at <= clock_timestamp() order by expires_at limit (item ->> 'count_max')::int) as due;
  perform from stored_response_bytes where account_id = any (owners) order by account_id for update;
  with gone as (
    delete from stored_responses where ctid = any (places) and expires_at <= clock_timestamp()
    returning account_id, octet_length(input) + octet_length(response) as size)
  update stored_response_bytes s set bytes = s.bytes - freed.size
  from (select account_id, sum(size) as size from gone group by account_id) as freed
  where s.account_id = freed.account_id;
  return jsonb_build_object('decision', 'forgotten', 'count', coalesce(cardinality(places), 0));
end $$;

-- A chat as it is shown: what was said is sealed.
create function ledger.chat_report(chat stored_responses) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'request_id', chat.request_id, 'response', encode(chat.response, 'base64'), 'metadata', coalesce(chat.metadata, '{}'))
$$;

create function ledger.list_chats(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
  after timestamptz := (
    select created_at from stored_responses where account_id = asker.account_id and request_id = (item ->> 'after')::uuid and kind = 'chat');
  is_newest_first boolean := item ->> 'order' = 'desc';
begin
  if refusal is not null or item ->> 'after' is not null and after is null then
    return jsonb_build_object('decision', coalesce(refusal, 'not_found'));
  end if;
  return jsonb_build_object('decision', 'allowed', 'account_id', asker.account_id::text, 'chats', coalesce((
    select jsonb_agg(chat_report(chat) order by place) from (
      select chat, row_number() over () as place from (
        select c as chat from stored_responses c
        where account_id = asker.account_id and kind = 'chat' and expires_at > clock_timestamp()
          and (item ->> 'model' is null or model = item ->> 'model') and coalesce(metadata, '{}') @> (item -> 'metadata')
          and (after is null or case when is_newest_first then (created_at, request_id) < (after, (item ->> 'after')::uuid)
            else (created_at, request_id) > (after, (item ->> 'after')::uuid) end)
        order by case when is_newest_first then created_at end desc, case when is_newest_first then request_id end desc, created_at, request_id
        limit (item ->> 'limit')::int + 1) as page) as placed), '[]'));
end $$;

create function ledger.update_chat(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
  chat stored_responses;
begin
  if refusal is null then
    update stored_responses set metadata = item -> 'metadata'
    where account_id = asker.account_id and request_id = (item ->> 'request_id')::uuid and kind = 'chat' and expires_at > clock_timestamp()
    returning * into chat;
  end if;
  if chat.request_id is null then
    return jsonb_build_object('decision', coalesce(refusal, 'not_found'));
  end if;
  return jsonb_build_object('decision', 'allowed', 'account_id', asker.account_id::text, 'chats', jsonb_build_array(chat_report(chat)));
end $$;
