-- Deliveries: who sends which, and what becomes of an attempt. Whoever sends to an endpoint has it alone for its lease; whatever of that is
-- cut off is sent again, under the same id. Endpoints are locked before their deliveries, in the order of their ids.

-- How long after an attempt comes the next. After the last of them there is none.
create function ledger.retry_delay(tries int) returns interval language sql immutable as $$
  select (array['5 seconds', '5 minutes', '30 minutes', '2 hours', '5 hours', '10 hours', '14 hours', '20 hours', '24 hours']::interval[])[tries]
$$;

-- Endpoints that something waits for, and since when: one look into the index an endpoint, however much waits for it.
create function ledger.waiting_endpoints() returns table (endpoint_id bigint, due_at timestamptz) language sql stable as $$
  with recursive waiting as (
    (select d.endpoint_id, d.due_at from webhook_deliveries d where state = 'pending' order by d.endpoint_id, d.due_at limit 1)
    union all
    select next.* from waiting w, lateral (
      select d.endpoint_id, d.due_at from webhook_deliveries d
      where state = 'pending' and d.endpoint_id > w.endpoint_id order by d.endpoint_id, d.due_at limit 1) as next)
  select * from waiting
$$;

-- The moment from which an endpoint may be sent to, where something waits for it since `due_at`.
create function ledger.sendable_at(endpoint webhook_endpoints, due_at timestamptz) returns timestamptz language sql immutable as $$
  select greatest(due_at, endpoint.leased_until, endpoint.resting_until)
$$;

-- Leases endpoints that may be sent to: those that are quick, and no more of the slow ones than may be. Items: {count_max, slow_max, lease_ms,
-- deliveries_max}. Answers what to send, and in how many milliseconds something else is due, null where nothing is.
create function ledger.claim_deliveries(item jsonb) returns jsonb language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
  chosen bigint[] := array(
    select id from (
      select e.id, w.due_at, row_number() over (partition by e.is_slow order by w.due_at) as place, e.is_slow
      from waiting_endpoints() w join webhook_endpoints e on e.id = w.endpoint_id
      where disabled_at is null and sendable_at(e, w.due_at) <= moment) as ready
    where place <= case when is_slow then (item ->> 'slow_max')::int else (item ->> 'count_max')::int end
    order by is_slow, ready.due_at limit (item ->> 'count_max')::int);
  claimed jsonb;
begin
  chosen := array(select id from webhook_endpoints where id = any (chosen) order by id for no key update skip locked);
  with leased as (
    update webhook_endpoints e set lease = gen_random_uuid(), leased_until = moment + (item ->> 'lease_ms')::int * interval '1 millisecond'
    where id = any (chosen) and disabled_at is null and coalesce(leased_until, '-infinity') <= moment
    returning e.*)
  select jsonb_agg(jsonb_build_object(
    'endpoint_id', e.id::text, 'account_id', e.account_id::text, 'lease', e.lease, 'kind', e.kind, 'url', e.url, 'is_slow', e.is_slow,
    'secrets', coalesce(sealed_secrets(e), '[]'), 'deliveries', due_deliveries(e.id, (item ->> 'deliveries_max')::int)))
  into claimed from leased e;
  return jsonb_build_object('decision', 'claimed', 'endpoints', coalesce(claimed, '[]'), 'next_due_ms', (
    select ceil(extract(epoch from min(sendable_at(e, w.due_at)) - moment) * 1000)::bigint
    from waiting_endpoints() w join webhook_endpoints e on e.id = w.endpoint_id
    where disabled_at is null and sendable_at(e, w.due_at) > moment));
end $$;

create function ledger.due_deliveries(endpoint bigint, count_max int) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'delivery_id', d.id::text, 'event_id', event_name(d.event_id), 'type', o.type, 'body', o.body, 'tries', d.tries) order by d.due_at, d.id), '[]')
  from (
    select * from webhook_deliveries
    where endpoint_id = endpoint and state = 'pending' and due_at <= clock_timestamp() order by due_at, id limit count_max) as d
  join outbox o on o.id = d.event_id
$$;

-- Writes down what became of an attempt, and ends the lease where it was the last of it. Items: {endpoint_id, lease, releases, rest_ms,
-- attempt: {delivery_id, tries before it, status, error, answer, started_unix_ms, duration_ms, retry_after_s} | null}. Of a lease that has ended only
-- a success counts: whoever has it now sends the rest.
create function ledger.note_attempt(item jsonb) returns jsonb language plpgsql as $$
declare
  endpoint webhook_endpoints;
  attempt jsonb := nullif(item -> 'attempt', 'null');
  is_success boolean := coalesce((attempt ->> 'status')::int between 200 and 299, false);
  holds boolean;
begin
  select * into endpoint from webhook_endpoints where id = (item ->> 'endpoint_id')::bigint for no key update;
  holds := endpoint.lease = (item ->> 'lease')::uuid;
  if endpoint.id is null or not (holds or is_success) then
    return '{"decision": "superseded"}';
  end if;
  if attempt is not null then
    perform note_outcome(endpoint, attempt, is_success);
  end if;
  update webhook_endpoints set
    failing_since = case when attempt is null then failing_since when is_success then null else coalesce(failing_since, clock_timestamp()) end,
    is_slow = case when attempt is null then is_slow else (attempt ->> 'duration_ms')::int > 5000 end,
    resting_until = case when item ? 'rest_ms' then clock_timestamp() + (item ->> 'rest_ms')::int * interval '1 millisecond' else resting_until end,
    lease = case when holds and item -> 'releases' = 'true' then null else lease end,
    leased_until = case when holds and item -> 'releases' = 'true' then null else leased_until end
  where id = endpoint.id returning * into endpoint;
  if (attempt ->> 'status')::int = 410 then
    perform disable_endpoint(endpoint, 'gone');
  elsif attempt is not null and endpoint.failing_since <= clock_timestamp() - interval '5 days' then
    perform disable_endpoint(endpoint, 'failing');
  end if;
  return '{"decision": "noted"}';
end $$;

-- What of a delivery's attempts is kept, and of an endpoint's answers.
create function ledger.note_outcome(endpoint webhook_endpoints, attempt jsonb, is_success boolean) returns void language plpgsql as $$
declare
  delivery webhook_deliveries;
  delay interval;
begin
  select * into delivery from webhook_deliveries where id = (attempt ->> 'delivery_id')::bigint and endpoint_id = endpoint.id for no key update;
  if delivery.state is distinct from 'pending' or not is_success and delivery.tries <> (attempt ->> 'tries')::int then
    return; -- whoever else sent it was faster, or this was noted before
  end if;
  delivery.tries := delivery.tries + 1;
  delay := greatest(
    retry_delay(delivery.tries) * (0.8 + 0.4 * random()),
    (attempt ->> 'retry_after_s')::int * interval '1 second');
  update webhook_deliveries set
    state = case when is_success then 'delivered' when retry_delay(delivery.tries) is null or (attempt ->> 'status')::int = 410 then 'failed'
      else 'pending' end,
    tries = delivery.tries,
    due_at = clock_timestamp() + coalesce(delay, '0'),
    attempts = (select jsonb_agg(a order by place) from jsonb_array_elements(
      delivery.attempts || jsonb_build_array(attempt - array['delivery_id', 'tries', 'answer', 'retry_after_s'])) with ordinality as l (a, place)
      where place > jsonb_array_length(delivery.attempts) + 1 - 20),
    answer = attempt ->> 'answer'
  where id = delivery.id;
  update webhook_deliveries set answer = null where id in (
    select id from webhook_deliveries where endpoint_id = endpoint.id and answer is not null order by id desc offset 500);
end $$;

-- Nothing is sent to it any more; the account's other endpoints hear of it.
create function ledger.disable_endpoint(endpoint webhook_endpoints, reason text) returns void language plpgsql as $$
begin
  update webhook_endpoints set disabled_at = clock_timestamp(), disabled_reason = reason, updated_at = clock_timestamp(), lease = null, leased_until = null
  where id = endpoint.id and disabled_at is null;
  if found then
    perform emit(endpoint.account_id, 'webhook_endpoint.disabled', jsonb_build_object(
      'id', 'whe_' || endpoint.id, 'name', endpoint.name, 'url', endpoint.url, 'reason', reason));
  end if;
end $$;

create function ledger.lock_endpoints(items jsonb) returns void language plpgsql as $$
begin
  perform 1 from webhook_endpoints
  where id in (select (i ->> 'endpoint_id')::bigint from jsonb_array_elements(items) as i) order by id for no key update;
end $$;
