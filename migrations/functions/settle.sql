-- How a reservation ends. Terminal states are never left; nothing is charged twice, above its reservation, or after a void.

-- The reservation a ticket was signed for, made again where a crash lost it. It comes back expired, for nothing is held any
-- more: its usage is then late usage. Null where the ticket and the row disagree about the account.
create or replace function restore(item jsonb, lost_state text) returns reservations language plpgsql as $$
declare
  held reservations;
begin
  select * into held from reservations where request_id = (item ->> 'request_id')::uuid;
  if not found then
    insert into reservations
      (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at)
    values (
      (item ->> 'request_id')::uuid, (item ->> 'account_id')::bigint, (item ->> 'key_id')::bigint, item ->> 'model',
      (item ->> 'price_version')::int, (item ->> 'reserved_nanousd')::bigint, (item ->> 'attempt')::int, lost_state,
      clock_timestamp(), clock_timestamp())
    returning * into held;
  end if;
  return case when held.account_id = (item ->> 'account_id')::bigint then held end;
end $$;

create or replace function settle_refused(item jsonb, anomaly text) returns jsonb language plpgsql as $$
begin
  insert into anomalies (request_id, kind, detail) values ((item ->> 'request_id')::uuid, anomaly, item);
  return jsonb_build_object('decision', anomaly);
end $$;

-- Expects the account to be locked. Items: a ticket's fields and a usage record's.
create or replace function settle_one(item jsonb) returns jsonb language plpgsql as $$
declare
  held reservations := restore(item, 'expired');
  settled usage;
  price prices;
  cost numeric;
  charge bigint;
  in_time boolean := held.state = 'pending';
begin
  if held.request_id is null then
    return settle_refused(item, 'rejected');
  end if;
  select * into settled from usage where request_id = held.request_id;
  if found then
    if (settled.attempt, settled.prompt_tokens, settled.completion_tokens) =
       ((item ->> 'attempt')::int, (item ->> 'prompt_tokens')::bigint, (item ->> 'completion_tokens')::bigint) then
      return jsonb_build_object('decision', 'duplicate');
    end if;
    return settle_refused(item, case when settled.attempt <> (item ->> 'attempt')::int then 'stale' else 'conflict' end);
  end if;
  if held.state = 'voided' then
    return jsonb_build_object('decision', 'voided');
  end if;
  if held.attempt <> (item ->> 'attempt')::int then
    return settle_refused(item, 'stale');
  end if;

  select * into price from prices where model = held.model and version = held.price_version;
  cost := cost_nanousd(price, (item ->> 'prompt_tokens')::bigint, (item ->> 'completion_tokens')::bigint);
  charge := least(cost, held.amount_nanousd)::bigint;
  if cost > charge then
    perform settle_refused(item, 'above_reservation');
  end if;

  update reservations set state = 'posted', closed_at = clock_timestamp() where request_id = held.request_id and in_time;
  insert into usage
    (request_id, account_id, attempt, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome,
     started_at, first_token_ms, duration_ms, cost_nanousd)
  values (
    held.request_id, held.account_id, held.attempt, (item ->> 'prompt_tokens')::bigint, (item ->> 'cached_tokens')::bigint,
    (item ->> 'completion_tokens')::bigint, (item ->> 'delivered_tokens')::bigint, item ->> 'outcome',
    to_timestamp((item ->> 'started_unix_ms')::double precision / 1000), (item ->> 'first_token_ms')::double precision,
    (item ->> 'duration_ms')::double precision, charge);
  insert into entries (account_id, request_id, kind, amount_nanousd)
  values (held.account_id, held.request_id, case when in_time then 'usage' else 'late_usage' end, charge);
  update accounts set
    debited_nanousd = debited_nanousd + charge,
    pending_nanousd = pending_nanousd - case when in_time then held.amount_nanousd else 0 end,
    late_nanousd = late_nanousd + case when in_time then 0 else charge end
  where id = held.account_id;
  perform correct_limits(array[row(
    held.account_id, held.key_id, in_time, held.amount_nanousd, charge, held.tokens_max,
    (item ->> 'prompt_tokens')::bigint + (item ->> 'completion_tokens')::bigint)::ended]);
  return jsonb_build_object('decision', case when in_time then 'posted' else 'late' end);
end $$;

-- Everything a node reports: its usage records, and itself ({node}). Durable before it is answered, for the node then forgets.
create or replace function settle(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  if not jsonb_path_exists(items, '$[*].request_id') then
    perform set_config('synchronous_commit', 'off', true); -- a heartbeat is worth no disk write
  end if;
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    if item ? 'node' then
      perform heartbeat(item -> 'node');
      return next jsonb_build_object('decision', 'seen');
    else
      return next settle_one(item);
    end if;
  end loop;
end $$;
