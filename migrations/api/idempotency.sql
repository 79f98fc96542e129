-- Calls that came with an Idempotency-Key and are no generation: one carries each out, and its result is kept for a day.

-- Claims a call that is no generation for one who carries it out now, under the lease of {lease_ms}. Whoever takes over a claim
-- that nobody brought to its end goes on under the first one's id: what that one did it finds done. `scope` is what the endpoint
-- asks of the key: a result that was kept is shown to none that could not have asked for it.
create function api.claim_request(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  wish jsonb;
  asker keys;
  refusal text;
  owner bigint;
  verdict jsonb;
  claim idempotent_requests;
begin
  for item in select * from jsonb_array_elements(items) loop
    wish := item -> 'idempotency';
    asker := asker_of(item);
    refusal := asker_refusal(asker, item, item ->> 'scope');
    owner := coalesce(asker.account_id, 0);
    if refusal is not null then
      return next jsonb_build_object('decision', refusal);
      continue;
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
    return next verdict;
  end loop;
end $$;

-- Keeps the result of a run, where the run still holds the key. Items: {account_id, idempotency, request_id, status, content_type, body}.
create function api.keep_result(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    update idempotent_requests set
      status = (item ->> 'status')::int, content_type = item ->> 'content_type', body = decode(item ->> 'body', 'base64')
    where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
      and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid;
    return next jsonb_build_object('decision', case when found then 'kept' else 'superseded' end);
  end loop;
end $$;

-- Gives a claim up: a refused call changed nothing and is forgotten ({forget: true}), a failed one may be tried again at once.
create function api.release_request(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    update idempotent_requests set lease_until = clock_timestamp(), expires_at = case when item -> 'forget' = 'true' then clock_timestamp() else expires_at end
    where account_id = (item ->> 'account_id')::bigint and endpoint = item -> 'idempotency' ->> 'endpoint'
      and key_hash = decode(item -> 'idempotency' ->> 'key_hash', 'hex') and request_id = (item ->> 'request_id')::uuid
      and status is null;
    return next jsonb_build_object('decision', 'released');
  end loop;
end $$;

-- After a day nothing of them is left.
create function api.forget_requests(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  forgotten_count int;
begin
  for item in select * from jsonb_array_elements(items) loop
    with due as (
      select ctid from idempotent_requests where expires_at <= clock_timestamp() limit (item ->> 'count_max')::int),
    gone as (delete from idempotent_requests where ctid in (select ctid from due) returning 1)
    select count(*) into forgotten_count from gone;
    return next jsonb_build_object('decision', 'forgotten', 'count', forgotten_count);
  end loop;
end $$;
