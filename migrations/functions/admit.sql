-- Whether a request may run, decided in one call: key, scope, model, idempotency, price, limits, money, nodes, and then the
-- reservation. Items come in the order of their keys, so an account and a key are read once a call and written once.
-- Items: {request_id, key_hash, address, model, prompt_tokens_max, output_tokens_max, ttl_ms, limits, idempotency}.

create or replace function admission(held reservations, account accounts, nodes jsonb) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'admitted',
    'account_id', held.account_id::text,
    'key_id', held.key_id::text,
    'price_version', held.price_version,
    'reserved_nanousd', held.amount_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'nodes', nodes)
$$;

-- What stands in the way of a key before anything is counted, or null.
create or replace function admission_refusal(key keys, item jsonb) returns text language plpgsql as $$
begin
  return coalesce(
    key_refusal(key, 'generate', item),
    case when key.models is not null and item ->> 'model' <> all (key.models) then 'model_not_allowed' end);
end $$;

-- The commit need not reach the disk: what a crash forgets, settle rebuilds from the signed ticket. That somebody asked not to be
-- billed twice it would forget, so a request with an Idempotency-Key is durable.
create or replace function admit(items jsonb) returns setof jsonb language plpgsql
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(items)]);
  owners bigint[] := array(
    select distinct account_id from keys
    where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i));
  moment timestamptz;
  moment_us bigint;
  asked record;
  account accounts; -- of the item at hand, as the items before it left it
  whole meters; -- of the account
  own meters; -- of the key
  limited limit_decision;
  price prices;
  price_of text;
  nodes jsonb;
  nodes_of text;
  amount numeric;
  tokens bigint;
  answer jsonb;
  held reservations;
  made reservations[] := '{}';
begin
  if not jsonb_path_exists(items, '$[*].idempotency') then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  perform lock_accounts(owners);
  moment := clock_timestamp();
  perform expire_grants(owners, moment); -- what has ended is not spent, though the cron has not come yet
  moment_us := (extract(epoch from moment) * 1000000)::bigint;

  for asked in
    select
      listed.item, listed.place::int as place, k.key, r.held,
      -- An answer that was lost is asked for again, perhaps in the same call.
      min(place) over (partition by (k.key).id, listed.item ->> 'request_id')::int as first_place
    from jsonb_array_elements(items) with ordinality as listed (item, place)
    left join lateral (select k as key from keys k where hash = decode(listed.item ->> 'key_hash', 'hex') limit 1) as k on true
    left join lateral (select r as held from reservations r where request_id = (listed.item ->> 'request_id')::uuid limit 1) as r on true
    order by (k.key).account_id, coalesce((k.key).metered_as, (k.key).id), listed.place
  loop
    if (asked.key).account_id is distinct from account.id then
      perform save_takings(account, whole, own);
      select * into account from accounts where id = (asked.key).account_id;
      select * into whole from meters where account_id = account.id and key_id = 0;
      own := null;
    end if;
    if coalesce((asked.key).metered_as, (asked.key).id) is distinct from own.key_id then
      perform save_takings(null, null, own);
      select * into own from meters
      where account_id = account.id and key_id = coalesce((asked.key).metered_as, (asked.key).id);
    end if;
    if asked.item ->> 'model' is distinct from nodes_of then
      nodes_of := asked.item ->> 'model';
      nodes := live_nodes(nodes_of);
      price_of := null;
    end if;
    if price_of is distinct from account.id::text then
      price_of := account.id::text;
      price := price_at(nodes_of, account.id, moment);
    end if;

    if (asked.held).request_id is not null then -- the reservation that was made is the answer
      answers[asked.place] := case
        when ((asked.held).key_id, (asked.held).model, (asked.held).state) is distinct from ((asked.key).id, nodes_of, 'pending') then
          jsonb_build_object('decision', 'closed')
        else admission(asked.held, account, nodes)
      end;
      continue;
    elsif asked.first_place < asked.place then
      answers[asked.place] := answers[asked.first_place];
      continue;
    end if;

    tokens := (asked.item ->> 'prompt_tokens_max')::bigint + (asked.item ->> 'output_tokens_max')::bigint;
    amount := cost_nanousd(price, (asked.item ->> 'prompt_tokens_max')::bigint, 0, (asked.item ->> 'output_tokens_max')::bigint);
    answer := jsonb_build_object('decision', admission_refusal(asked.key, asked.item));
    if answer ->> 'decision' is null and asked.item ? 'idempotency' then
      answer := coalesce(idempotency_verdict(account.id, asked.item -> 'idempotency'), answer);
    end if;
    if answer ->> 'decision' is null then
      limited := decide_limits(asked.key, account, own, whole, asked.item -> 'limits', tokens, amount, moment_us);
      answer := case
        when price.model is null then jsonb_build_object('decision', 'no_price')
        when limited.refusal is not null then jsonb_build_object('decision', limited.refusal, 'limits', limited.shown)
        when account.debited_nanousd + account.pending_nanousd + amount > account.credited_nanousd::numeric + account.overdraft_nanousd then
          jsonb_build_object('decision', 'insufficient_quota', 'limits', limited.shown)
        when nodes = '[]' then jsonb_build_object('decision', 'no_node', 'limits', limited.shown)
      end;
    end if;
    if answer is not null then
      answers[asked.place] := answer;
      continue;
    end if;

    account.pending_nanousd := account.pending_nanousd + amount::bigint;
    own := limited.own;
    whole := limited.whole;
    held := null;
    held.request_id := (asked.item ->> 'request_id')::uuid;
    held.account_id := account.id;
    held.key_id := (asked.key).id;
    held.model := nodes_of;
    held.price_version := price.version;
    held.amount_nanousd := amount::bigint;
    held.expires_at := clock_timestamp() + (asked.item ->> 'ttl_ms')::bigint * interval '1 millisecond';
    held.tokens_max := tokens;
    made := made || held;
    if asked.item ? 'idempotency' then
      perform claim_for_generation(account.id, asked.item -> 'idempotency', held.request_id);
    end if;
    answers[asked.place] := admission(held, account, nodes) || jsonb_strip_nulls(jsonb_build_object('limits', nullif(limited.shown, '{}')));
  end loop;
  perform save_takings(account, whole, own);
  insert into reservations
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at, tokens_max)
  select request_id, account_id, key_id, model, price_version, amount_nanousd, 1, 'pending', moment, expires_at, tokens_max
  from unnest(made);
  return query select unnest(answers);
end $$;

-- Gives the generation to the next attempt: from here on, what an earlier one reports is stale. Items: {request_id, account_id, attempt}.
create or replace function fence(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    update reservations set attempt = (item ->> 'attempt')::int
    where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint
      and state = 'pending' and attempt in ((item ->> 'attempt')::int - 1, (item ->> 'attempt')::int);
    return next jsonb_build_object('decision', case when found then 'fenced' else 'closed' end);
  end loop;
end $$;
