-- Whether a request may run, decided in one call: key, scope, model, idempotency, price, limits, money, nodes, and then the
-- reservation. Items come in the order of their keys, so an account and a key are written once a call.
-- Items: {request_id, key_hash, address, model, prompt_tokens_max, output_tokens_max, ttl_ms, limits, idempotency}.

-- The commit need not reach the disk: what a crash forgets, settle rebuilds from the signed ticket. That somebody asked not to be
-- billed twice it would forget, so a request with an Idempotency-Key is durable.
-- Each item's rows are looked up by their indexes, whatever a plan that was made while the tables were small would do.
create function api.admit(items jsonb) returns setof jsonb language plpgsql
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(items)]);
  owners bigint[] := array(
    select account_id from keys where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i));
  moment timestamptz;
  moment_us bigint;
  asked record;
  key keys;
  account accounts; -- of the item at hand, as the items before it left it
  whole meters; -- of the account
  own meters; -- of the key
  whole_place int; -- of the meters, among those that were taken from
  own_place int := 0;
  limited limit_decision;
  price prices;
  price_of text;
  list_price prices;
  agreed boolean; -- whether an account here has a price of its own
  nodes jsonb;
  nodes_of text;
  amount numeric;
  tokens bigint;
  refusal text;
  answer jsonb;
  held reservations;
  made reservations[] := '{}';
  made_ids uuid[] := '{}';
  taken_from meters[] := '{}';
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
      item, place::int, (item ->> 'request_id')::uuid as request_id, item ->> 'model' as model,
      (item ->> 'prompt_tokens_max')::bigint as prompt_tokens_max, (item ->> 'output_tokens_max')::bigint as output_tokens_max,
      k.key, (k.key).id as key_id, (k.key).account_id, coalesce((k.key).metered_as, (k.key).id) as metered_as,
      r.held, (r.held).request_id is not null as is_held, a.account, w.whole, o.own
    from jsonb_array_elements(items) with ordinality as listed (item, place)
    left join lateral (select k as key from keys k where hash = decode(item ->> 'key_hash', 'hex') limit 1) as k on true
    left join lateral (select r as held from reservations r where request_id = (item ->> 'request_id')::uuid limit 1) as r on true
    left join lateral (select a as account from accounts a where id = (k.key).account_id limit 1) as a on true
    left join lateral (
      select m as whole from meters m where account_id = (k.key).account_id and key_id = 0 limit 1) as w on true
    left join lateral (
      select m as own from meters m
      where account_id = (k.key).account_id and key_id = coalesce((k.key).metered_as, (k.key).id) limit 1) as o on true
    order by (k.key).account_id, coalesce((k.key).metered_as, (k.key).id), place
  loop
    if asked.account_id is distinct from account.id then
      account := asked.account;
      whole := asked.whole;
      whole_place := own_place + 1;
      own_place := whole_place;
    end if;
    if asked.metered_as is distinct from own.key_id then
      own := asked.own;
      own_place := own_place + 1;
    end if;
    if asked.key_id is distinct from key.id then
      key := asked.key;
    end if;
    if asked.model is distinct from nodes_of then
      nodes_of := asked.model;
      nodes := live_nodes(nodes_of);
      list_price := price_at(nodes_of, null, moment);
      agreed := exists (select from prices where model = nodes_of and account_id = any (owners));
      price_of := null;
    end if;
    if price_of is distinct from account.id::text then
      price_of := account.id::text;
      price := case when agreed then price_at(nodes_of, account.id, moment) else list_price end;
    end if;

    -- An answer that was lost is asked for again, perhaps in the same call: the reservation that was made is the answer.
    held := case when asked.is_held then asked.held else made[array_position(made_ids, asked.request_id)] end;
    if held.request_id is not null then
      answers[asked.place] := case
        when (held.key_id, held.model, held.state) is distinct from (key.id, nodes_of, 'pending') then '{"decision": "closed"}'
        else admission(held, account, nodes)
      end;
      continue;
    end if;

    refusal := admission_refusal(key, asked.item);
    answer := case
      when refusal is not null then jsonb_build_object('decision', refusal)
      when asked.item ? 'idempotency' then idempotency_verdict(account.id, asked.item -> 'idempotency')
    end;
    if answer is null then
      tokens := asked.prompt_tokens_max + asked.output_tokens_max;
      amount := cost_nanousd(price, asked.prompt_tokens_max, 0, asked.output_tokens_max);
      limited := decide_limits(key, account, own, whole, asked.item -> 'limits', tokens, amount, moment_us);
      answer := case
        when price.model is null then '{"decision": "no_price"}'
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
    taken_from[whole_place] := whole;
    taken_from[own_place] := own;
    held.request_id := asked.request_id;
    held.account_id := account.id;
    held.key_id := key.id;
    held.model := nodes_of;
    held.price_version := price.version;
    held.amount_nanousd := amount::bigint;
    held.state := 'pending';
    held.expires_at := clock_timestamp() + (asked.item ->> 'ttl_ms')::bigint * interval '1 millisecond';
    held.tokens_max := tokens;
    made := made || held;
    made_ids := made_ids || held.request_id;
    if asked.item ? 'idempotency' then
      perform claim_for_generation(account.id, asked.item -> 'idempotency', held.request_id);
    end if;
    answer := admission(held, account, nodes);
    answers[asked.place] := case when limited.shown = '{}' then answer else answer || jsonb_build_object('limits', limited.shown) end;
  end loop;
  if made <> '{}' then
    perform save_takings(made, taken_from, moment);
  end if;
  return query select unnest(answers);
end $$;

-- Gives the generation to the next attempt: from here on, what an earlier one reports is stale. Items: {request_id, account_id, attempt}.
create function api.fence(items jsonb) returns setof jsonb language plpgsql as $$
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
