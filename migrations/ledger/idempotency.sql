-- Requests that came with an Idempotency-Key: done once, and answered again from what was kept. `wish`: {endpoint, key_hash, fingerprint}.

-- What is known of such a request, where it may not (again) run; null where it may.
create function ledger.idempotency_verdict(owner bigint, wish jsonb) returns jsonb language plpgsql as $$
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

create function ledger.claim_for_generation(owner bigint, wish jsonb, request uuid) returns void language sql as $$
  insert into idempotent_requests (account_id, endpoint, key_hash, fingerprint, request_id, expires_at)
  values (
    owner, wish ->> 'endpoint', decode(wish ->> 'key_hash', 'hex'), decode(wish ->> 'fingerprint', 'hex'), request,
    clock_timestamp() + interval '24 hours')
  on conflict (account_id, endpoint, key_hash) do update set
    fingerprint = excluded.fingerprint, request_id = excluded.request_id, lease_until = null, status = null, content_type = null,
    body = null, created_at = clock_timestamp(), expires_at = excluded.expires_at
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
  verdict := idempotency_verdict(owner, wish);
  if verdict is null or verdict ->> 'decision' = 'idempotency_running' and holds_claim(owner, wish, (item ->> 'request_id')::uuid) then
    delete from idempotent_requests
    where account_id = owner and endpoint = wish ->> 'endpoint' and key_hash = decode(wish ->> 'key_hash', 'hex')
      and expires_at <= clock_timestamp();
    insert into idempotent_requests (account_id, endpoint, key_hash, fingerprint, request_id, lease_until, expires_at)
    values (
      owner, wish ->> 'endpoint', decode(wish ->> 'key_hash', 'hex'), decode(wish ->> 'fingerprint', 'hex'),
      (item ->> 'request_id')::uuid, clock_timestamp() + (item ->> 'lease_ms')::bigint * interval '1 millisecond',
      clock_timestamp() + interval '24 hours')
    on conflict (account_id, endpoint, key_hash) do update set lease_until = excluded.lease_until
    returning * into claim;
    verdict := jsonb_build_object('decision', 'claimed', 'account_id', owner::text, 'request_id', claim.request_id);
  end if;
  return verdict;
end $$;

create function ledger.keep_result(item jsonb) returns jsonb language plpgsql as $$
begin
  update idempotent_requests set
    status = (item ->> 'status')::int, content_type = item ->> 'content_type', body = decode(item ->> 'body', 'base64')
  where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
    and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid;
  return jsonb_build_object('decision', case when found then 'kept' else 'superseded' end);
end $$;

create function ledger.release_request(item jsonb) returns jsonb language plpgsql as $$
begin
  update idempotent_requests set lease_until = clock_timestamp(), expires_at = case when item -> 'forget' = 'true' then clock_timestamp() else expires_at end
  where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
    and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid
    and status is null;
  return jsonb_build_object('decision', 'released');
end $$;

create function ledger.forget_requests(item jsonb) returns jsonb language plpgsql as $$
declare
  forgotten_count int;
begin
  with due as (
    select ctid from idempotent_requests where expires_at <= clock_timestamp() limit (item ->> 'count_max')::int),
  gone as (delete from idempotent_requests where ctid in (select ctid from due) returning 1)
  select count(*) into forgotten_count from gone;
  return jsonb_build_object('decision', 'forgotten', 'count', forgotten_count);
end $$;
