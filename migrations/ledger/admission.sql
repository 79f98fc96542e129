-- What admit is made of: the rows that decide a request, the decision, and how it is written down.

-- The items of a call, each with the rows that decide it, in the order of their accounts and meters.
create function ledger.candidates_of(items jsonb, owners bigint[], moment timestamptz) returns setof ledger.candidate language sql stable as $$
  with models as materialized (
    select name, registered, tier, verified, price_at(name, null, moment, tier) as list_price,
      case when registered then live_nodes(name, verified) else live_unregistered_nodes(name) end as nodes,
      exists (select from prices where model = name and account_id = any (owners)) as is_agreed -- with one of these accounts
    from (
      select distinct i ->> 'model' as name, i ? 'registered_nodes' as registered, coalesce(i ->> 'service_tier', 'default') as tier,
        i ->> 'verify' as verified
      from jsonb_array_elements(items) as i) as named)
  select
    place::int, item, (item ->> 'request_id')::uuid, item ->> 'model',
    (item ->> 'prompt_tokens_max')::bigint, (item ->> 'request_output_tokens_max')::bigint,
    k.key, a.account, o.own, w.whole,
    case when is_agreed then price_at(name, (k.key).account_id, moment, tier) else list_price end, nodes, r.held
  from jsonb_array_elements(items) with ordinality as listed (item, place)
  join models on name = item ->> 'model' and registered = (item ? 'registered_nodes')
    and tier = coalesce(item ->> 'service_tier', 'default') and verified is not distinct from item ->> 'verify'
  left join lateral (select k as key from keys k where hash = decode(item ->> 'key_hash', 'hex') limit 1) as k on true
  left join lateral (select r as held from reservations r where request_id = (item ->> 'request_id')::uuid limit 1) as r on true
  left join lateral (select a as account from accounts a where id = (k.key).account_id limit 1) as a on true
  left join lateral (
    select m as whole from meters m where account_id = (k.key).account_id and key_id = 0 limit 1) as w on true
  left join lateral (
    select m as own from meters m
    where account_id = (k.key).account_id and key_id = coalesce((k.key).metered_as, (k.key).id) limit 1) as o on true
  order by (k.key).account_id, coalesce((k.key).metered_as, (k.key).id), place
$$;

-- The account of each item's key, in order; null where there is no such key.
create function ledger.owners_of_keys(items jsonb) returns bigint[] language sql stable as $$
  select array_agg((select account_id from keys where hash = decode(item ->> 'key_hash', 'hex')) order by place)
  from jsonb_array_elements(items) with ordinality as listed (item, place)
$$;

-- Admits what may run, one item after the other: each finds its account and its meters as those before it left them. Expects the
-- accounts to be locked; answers each item in its place.
create function ledger.admit_in_order(items jsonb, owners bigint[], moment timestamptz) returns jsonb[] language plpgsql as $$
declare
  answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(items)]);
  moment_us bigint := (extract(epoch from moment) * 1000000)::bigint;
  asked ledger.candidate;
  key keys;
  account accounts;
  whole meters; -- of the account
  own meters; -- of the key
  whole_place int; -- of the meters, among those that were taken from
  own_place int := 0;
  held reservations;
  limited ledger.limit_decision;
  taking ledger.limit_decision; -- what is taken by it
  amount numeric;
  answer jsonb;
  made reservations[] := '{}';
  made_ids uuid[] := '{}';
  taken_from meters[] := '{}';
begin
  for asked in select * from candidates_of(items, owners, moment) loop
    if (asked.account).id is distinct from account.id then
      account := asked.account;
      whole := asked.whole;
      whole_place := own_place + 1;
      own_place := whole_place;
    end if;
    if (asked.own).key_id is distinct from own.key_id then
      own := asked.own;
      own_place := own_place + 1;
    end if;
    key := asked.key;
    held := coalesce(asked.held, made[array_position(made_ids, asked.request_id)]);
    answer := case when held.request_id is not null then held_answer(held, key, account, asked.model, asked.nodes)
      else admission_refusal(key, account.suspended_at, asked.item) end;
    taking := null;
    if answer is null and asked.item ? 'idempotency' then
      taking := decide_repeat(key, account, own, whole, asked.item, moment_us);
      answer := taking.answer;
    end if;
    if answer is null then
      amount := cost_nanousd(asked.price, asked.prompt_tokens_max, 0, asked.request_output_tokens_max);
      limited := decide_limits(key, account, own, whole, row(asked.item -> 'limits',
        asked.prompt_tokens_max + asked.request_output_tokens_max, amount, moment_us)::ledger.demand);
      answer := obstacle(limited, asked, account, own, whole, amount);
      perform tell_spend_cap(key, answer -> 'quota') where answer ->> 'decision' = 'spend_cap_reached';
    end if;
    if answer is null then
      held := pending(asked, key, amount::bigint);
      if asked.item ? 'idempotency' then
        perform claim_for_generation(account.id, asked.item -> 'idempotency', held.request_id);
      end if;
      account.pending_nanousd := account.pending_nanousd + held.amount_nanousd;
      taking := limited;
      made := made || held;
      made_ids := made_ids || held.request_id;
      answer := admission(held, account, asked.nodes, limited.shown);
    end if;
    if (taking.own).key_id is not null then
      own := taking.own;
      whole := taking.whole;
      taken_from[whole_place] := whole;
      taken_from[own_place] := own;
    end if;
    answers[asked.place] := answer;
  end loop;
  perform save_takings(made, taken_from, moment) where taken_from <> '{}';
  return answers;
end $$;

-- What stands in the way of a key before anything is counted, as an answer, or null.
create function ledger.admission_refusal(key keys, suspended_at timestamptz, item jsonb) returns jsonb language plpgsql as $$
declare
  refusal text := coalesce(own_refusal(key, 'generate', item), suspension_refusal(suspended_at, 'generate', item));
begin
  -- A key that names an alias may have what stands behind it.
  if refusal is null and key.models is not null and item ->> 'model' <> all (key.models)
    and coalesce(item ->> 'alias' <> all (key.models), true) then
    refusal := 'model_not_allowed';
  end if;
  return case when refusal is not null then jsonb_build_object('decision', refusal) end;
end $$;

-- What then stands in the way: the price, the limits, the money or the nodes, as an answer, or null.
create function ledger.obstacle(
  limited ledger.limit_decision, asked ledger.candidate, account accounts, own meters, whole meters, amount numeric
) returns jsonb language sql stable as $$
  select case
    when (asked.price).version is null and asked.item ->> 'service_tier' = 'flex' then '{"decision": "no_flex_price"}'
    when (asked.price).version is null then '{"decision": "no_price"}'
    when limited.refusal = 'spend_cap_reached' then
      jsonb_build_object('decision', limited.refusal, 'limits', limited.shown) || quota(limited.refusal, asked, account, own, whole, amount)
    when limited.refusal is not null then jsonb_build_object('decision', limited.refusal, 'limits', limited.shown)
    when account.debited_nanousd + account.pending_nanousd + amount > account.credited_nanousd::numeric + account.overdraft_nanousd then
      jsonb_build_object('decision', 'insufficient_quota', 'limits', limited.shown)
      || quota('insufficient_quota', asked, account, own, whole, amount)
    when asked.nodes = '[]' then jsonb_build_object('limits', limited.shown,
      'decision', case when asked.item ? 'verify' and live_nodes(asked.model) <> '[]' then 'not_verified' else 'no_node' end)
  end
$$;

-- A reservation that is just made.
create function ledger.pending(asked ledger.candidate, key keys, amount bigint) returns reservations language plpgsql as $$
declare
  held reservations;
begin
  held.request_id := asked.request_id;
  held.account_id := key.account_id;
  held.key_id := key.id;
  held.model := asked.model;
  held.price_version := (asked.price).version;
  held.amount_nanousd := amount;
  held.state := 'pending';
  held.charged_tokens_max := asked.prompt_tokens_max + asked.request_output_tokens_max;
  held.metadata := asked.item -> 'metadata';
  held.asked_model := asked.item ->> 'asked_model';
  held.expires_at := clock_timestamp() + (asked.item ->> 'ttl_ms')::bigint * interval '1 millisecond';
  return held;
end $$;

-- An answer that was lost is asked for again, perhaps in the same call: the reservation that was made is the answer.
create function ledger.held_answer(held reservations, key keys, account accounts, model text, nodes jsonb) returns jsonb
language sql stable as $$
  select case
    when (held.key_id, held.model, held.state) is distinct from (key.id, model, 'pending') then '{"decision": "closed"}'
    else admission(held, account, nodes, '{}')
  end
$$;

create function ledger.admission(held reservations, account accounts, nodes jsonb, shown_limits jsonb) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'admitted',
    'account_id', held.account_id::text,
    'key_id', held.key_id::text,
    'price_version', held.price_version,
    'reserved_nanousd', held.amount_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'nodes', nodes)
    || case when shown_limits = '{}' then '{}' else jsonb_build_object('limits', shown_limits) end
$$;

-- Writes what admissions made, and what they took: of the balances of accounts, and of meters.
create function ledger.save_takings(made reservations[], taken_from meters[], moment timestamptz) returns void language plpgsql as $$
begin
  update accounts a set pending_nanousd = a.pending_nanousd + sums.amount_nanousd
  from (select account_id, sum(amount_nanousd)::bigint as amount_nanousd from unnest(made) group by account_id) as sums
  where a.id = sums.account_id;
  update meters m set
    requests_level = taken.requests_level, tokens_level = taken.tokens_level, tokens_per_minute = taken.tokens_per_minute,
    levels_at_us = taken.levels_at_us, requests_in_flight = taken.requests_in_flight, held_nanousd = taken.held_nanousd,
    last_used_at = taken.last_used_at
  from unnest(taken_from) as taken
  where m.account_id = taken.account_id and m.key_id = taken.key_id;
  insert into reservations
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at, charged_tokens_max,
     metadata, asked_model)
  select request_id, account_id, key_id, model, price_version, amount_nanousd, 1, state, moment, expires_at, charged_tokens_max, metadata,
    asked_model
  from unnest(made);
end $$;

-- What became of an admission whose answer was lost, decided under its account's lock, so after it or in its place: where it was made
-- and is wanted, it is the answer. Else its money is given back; and where it was not made yet it is written down as voided, so that it
-- cannot be any more.
create function ledger.resolve_admission(item jsonb) returns jsonb language plpgsql as $$
declare
  key keys;
  account accounts;
  held reservations;
begin
  select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
  select * into held from reservations where request_id = (item ->> 'request_id')::uuid;
  if held.request_id is null then
    insert into reservations
      (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at)
    select (item ->> 'request_id')::uuid, key.account_id, key.id, model, version, 0, 1, 'voided', clock_timestamp(), clock_timestamp()
    from price_at(item ->> 'model', key.account_id, clock_timestamp()) as price where version is not null and key.id is not null;
  elsif held.key_id is distinct from key.id or held.state not in ('pending', 'voided') then
    return '{"decision": "closed"}';
  elsif held.state = 'pending' and item -> 'is_wanted' = 'true' then
    select * into account from accounts where id = held.account_id;
    return admission(held, account, live_nodes(held.model, item ->> 'verify'), '{}')
      || jsonb_build_object('ledger_id', (select id from ledger_identity));
  elsif held.state = 'pending' then
    perform void_held(held);
  end if;
  return '{"decision": "withdrawn"}';
end $$;
