-- Requests that came with an Idempotency-Key: done once, and answered again from what was kept. `wish`: {endpoint, key_hash, fingerprint}.

-- What is known of such a request, where it may not (again) run; null where it may. A result is named (`by_id`), and read by itself:
-- here it would be in the way of all that is decided in the same call. A gateway of an earlier release expects it whole.
create function ledger.idempotency_verdict(owner bigint, wish jsonb, by_id boolean) returns jsonb language plpgsql as $$
declare
  kept idempotent_requests;
  run reservations;
begin
  select * into kept from idempotent_requests
  where account_id = owner and endpoint = wish ->> 'endpoint' and key_hash = decode(wish ->> 'key_hash', 'hex')
    and expires_at > clock_timestamp();
  if not found then
    return null;
  elsif kept.fingerprint <> decode(wish ->> 'fingerprint', 'hex')
    and kept.fingerprint is distinct from decode(wish ->> 'fingerprint_before', 'hex') then
    return jsonb_build_object('decision', 'idempotency_mismatch');
  elsif kept.status is not null and by_id then
    return jsonb_build_object('decision', 'kept', 'account_id', owner::text, 'request_id', kept.request_id);
  elsif kept.status is not null then
    return jsonb_build_object(
      'decision', 'replay', 'account_id', owner::text, 'request_id', kept.request_id, 'status', kept.status,
      'content_type', kept.content_type, 'body', encode(kept.body, 'base64'));
  elsif kept.lease_until is not null then
    return case when kept.lease_until > clock_timestamp() then jsonb_build_object('decision', 'idempotency_running') end;
  end if;
  select * into run from reservations where request_id = kept.request_id;
  return case
    when exists (select from entries where reference = void_reference(run.request_id)) then null -- given back after it was charged
    -- It runs, or the gateway that carried it may still bring its result.
    when run.state = 'pending' or run.closed_at > clock_timestamp() - interval '30 seconds' and run.state <> 'voided' then
      jsonb_build_object('decision', 'idempotency_running')
    when run.state in ('posted', 'expired') then
      jsonb_build_object('decision', 'idempotency_lost', 'request_id', run.request_id)
  end; -- it never began, or was given back: it may run
end $$;

-- A stream that runs, or has just ended, can be gone on with by the key that began it; `wish` is known to be running. One that was ended
-- because its client stayed away is lost. Null where nobody can go on with it.
create function ledger.resumption(asker keys, wish jsonb) returns jsonb language sql stable as $$
  select case
    when exists (
      select from usage u where u.request_id = r.request_id and u.settled_at = r.settled_at and u.outcome = 'client_gone') then
      jsonb_build_object('decision', 'idempotency_lost', 'request_id', r.request_id)
    else jsonb_build_object(
      'decision', 'idempotency_resumable', 'account_id', r.account_id::text, 'request_id', r.request_id, 'attempt', r.attempt,
      'nodes', live_nodes(r.model))
  end
  from idempotent_requests i join reservations r using (request_id)
  where i.account_id = asker.account_id and i.endpoint = wish ->> 'endpoint' and i.key_hash = decode(wish ->> 'key_hash', 'hex')
    and i.lease_until is null and r.key_id = asker.id
$$;

-- A body without a status is nobody's result: it is written over, or goes with its row (and counts as long as it is there).
create function ledger.claim_for_generation(owner bigint, wish jsonb, request uuid) returns void language sql as $$
  insert into idempotent_requests (account_id, endpoint, key_hash, fingerprint, request_id, expires_at)
  values (
    owner, wish ->> 'endpoint', decode(wish ->> 'key_hash', 'hex'), decode(wish ->> 'fingerprint', 'hex'), request,
    clock_timestamp() + interval '24 hours')
  on conflict (account_id, endpoint, key_hash) do update set
    fingerprint = excluded.fingerprint, request_id = excluded.request_id, lease_until = null, status = null,
    created_at = clock_timestamp(), expires_at = excluded.expires_at
$$;

-- Whether it is the request itself that runs: its first answer was lost, and it asks again.
create function ledger.holds_claim(owner bigint, wish jsonb, request uuid) returns boolean language sql stable as $$
  select exists (
    select from idempotent_requests
    where account_id = owner and endpoint = wish ->> 'endpoint' and key_hash = decode(wish ->> 'key_hash', 'hex')
      and request_id = request)
$$;

-- What the functions of these names in `api` do with one item.
create function ledger.claim_request(item jsonb) returns jsonb language plpgsql as $$
declare
  wish jsonb := item -> 'idempotency';
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, item ->> 'scope');
  owner bigint := coalesce(asker.account_id, 0);
  verdict jsonb;
  claim idempotent_requests;
begin
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  perform pg_advisory_xact_lock(hashtextextended(owner || ' ' || (wish ->> 'endpoint') || ' ' || (wish ->> 'key_hash'), 0));
  verdict := idempotency_verdict(owner, wish, coalesce((item ->> 'results_by_id')::boolean, false));
  if verdict is null or verdict ->> 'decision' = 'idempotency_running' and holds_claim(owner, wish, (item ->> 'request_id')::uuid) then
    insert into idempotent_requests as known (account_id, endpoint, key_hash, fingerprint, request_id, lease_until, expires_at)
    values (
      owner, wish ->> 'endpoint', decode(wish ->> 'key_hash', 'hex'), decode(wish ->> 'fingerprint', 'hex'),
      (item ->> 'request_id')::uuid, clock_timestamp() + (item ->> 'lease_ms')::bigint * interval '1 millisecond',
      clock_timestamp() + interval '24 hours')
    on conflict (account_id, endpoint, key_hash) do update set lease_until = excluded.lease_until
    returning * into claim;
    if claim.expires_at <= clock_timestamp() then -- what is past its day is another call
      update idempotent_requests set
        fingerprint = decode(wish ->> 'fingerprint', 'hex'), request_id = (item ->> 'request_id')::uuid, status = null,
        created_at = clock_timestamp(), expires_at = clock_timestamp() + interval '24 hours'
      where account_id = owner and endpoint = claim.endpoint and key_hash = claim.key_hash returning * into claim;
    end if;
    verdict := jsonb_build_object('decision', 'claimed', 'account_id', owner::text, 'request_id', claim.request_id);
  end if;
  return verdict;
end $$;

create function ledger.keep_result(item jsonb) returns jsonb language plpgsql as $$
declare
  owner bigint := (item ->> 'account_id')::bigint;
  body_after bytea := decode(item ->> 'body', 'base64');
  kept idempotent_requests;
  taken bigint;
begin
  insert into kept_results (account_id, body_bytes) values (owner, 0)
  on conflict (account_id) do update set body_bytes = kept_results.body_bytes returning body_bytes into taken; -- locked from here on
  select * into kept from idempotent_requests
  where account_id = owner and endpoint = item -> 'idempotency' ->> 'endpoint'
    and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid;
  if not found then
    return '{"decision": "superseded"}';
  end if;
  taken := taken - coalesce(octet_length(kept.body), 0) + octet_length(body_after);
  if taken > (item ->> 'account_bytes_max')::bigint then
    return '{"decision": "no_room"}';
  end if;
  update idempotent_requests set
    status = (item ->> 'status')::int, content_type = item ->> 'content_type', body = body_after
  where account_id = owner and endpoint = kept.endpoint and key_hash = kept.key_hash and request_id = kept.request_id;
  if not found then
    return '{"decision": "superseded"}';
  end if;
  update kept_results set body_bytes = taken where account_id = owner;
  return '{"decision": "kept"}';
end $$;

create function ledger.read_result(item jsonb) returns jsonb language sql as $$
  select coalesce((
    select jsonb_build_object(
      'decision', 'kept', 'status', status, 'content_type', content_type, 'body', encode(body, 'base64'))
    from idempotent_requests
    where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
      and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid
      and status is not null and expires_at > clock_timestamp()), '{"decision": "gone"}')
$$;

create function ledger.release_request(item jsonb) returns jsonb language plpgsql as $$
begin
  update idempotent_requests set lease_until = clock_timestamp(), expires_at = case when item -> 'forget' = 'true' then clock_timestamp() else expires_at end
  where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
    and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid
    and status is null;
  return jsonb_build_object('decision', 'released');
end $$;

-- Forgets what is due, as many as may be, and no more of them than have `bytes_max` together (and one in any case).
create function ledger.forget_requests(item jsonb) returns jsonb language plpgsql as $$
declare
  owners bigint[];
  places tid[];
begin
  select array_agg(distinct account_id), array_agg(ctid) into owners, places from (
    select account_id, ctid, sum(coalesce(octet_length(body), 0)) over (order by expires_at rows unbounded preceding) as bytes,
      row_number() over (order by expires_at) as place
    from (
      select account_id, ctid, body, expires_at from idempotent_requests
      where expires_at <= clock_timestamp() order by expires_at limit (item ->> 'count_max')::int) as due) as summed
  where place = 1 or bytes <= coalesce((item ->> 'bytes_max')::bigint, bytes);
  perform from kept_results where account_id = any (owners) order by account_id for update;
  with gone as (
    delete from idempotent_requests where ctid = any (places) and expires_at <= clock_timestamp() returning account_id, body)
  update kept_results k set body_bytes = greatest(0, k.body_bytes - freed.bytes)
  from (select account_id, coalesce(sum(octet_length(body)), 0) as bytes from gone group by account_id) as freed
  where k.account_id = freed.account_id;
  return jsonb_build_object('decision', 'forgotten', 'count', coalesce(cardinality(places), 0));
end $$;
