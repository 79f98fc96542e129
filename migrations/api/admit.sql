-- Whether a request may run, decided in one call: key, scope, model, idempotency, price, limits, money, nodes, and then the
-- reservation. Items come in the order of their keys, so an account and a key are written once a call.

-- Items: {request_id, key_hash, address, model, prompt_tokens_max, request_output_tokens_max, ttl_ms, limits, idempotency,
-- results_by_id, metadata: {name: value}, service_tier: 'flex', verify: the language that its answer is to be verified in,
-- asked_model: the name it was asked for by, where that is not the model's; alias: the same, where the model is what stands behind it,
-- resumes: true (the answer says how a stream that runs is gone on with), is_begun: true (and no new one is to run),
-- lock_ms_max: the answer is `locked` where somebody else holds the account for longer; the whole call fails if one has it not;
-- registered_nodes: true (a gateway of the release before does not say so, and asks those that report to it)}.
-- The commit need not reach the disk: what a crash forgets, settle rebuilds from the signed ticket. That somebody asked not to be
-- billed twice it would forget, so a request with an Idempotency-Key is durable.
-- Each item's rows are looked up by their indexes, whatever a plan that was made while the tables were small would do.
create function api.admit(items jsonb) returns setof jsonb language plpgsql
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  owners bigint[] := array(
    select account_id from keys where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i));
  moment timestamptz;
begin
  if not jsonb_path_exists(items, '$[*].idempotency') then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  if jsonb_path_exists(items, '$[*] ? (!exists(@.lock_ms_max))') then
    perform lock_accounts(owners);
  elsif lock_free_accounts(owners, (items -> 0 ->> 'lock_ms_max')::int) is distinct from owners then
    return query select answers_beside_locked('admit', items, owners_of_keys(items));
    return;
  end if;
  moment := clock_timestamp();
  perform expire_grants(owners, moment); -- what has ended is not spent, though the cron has not come yet
  return query
    select case
      when answer ->> 'decision' = 'admitted' then answer || jsonb_build_object('ledger_id', (select id from ledger_identity))
      else answer
    end
    from unnest(admit_in_order(items, owners, moment)) as answer;
end $$;

-- Finds or undoes admissions that got no answer in time. It locks as admit does, so whatever still runs of them has ended before.
-- Items: {request_id, key_hash, model, is_wanted, verify}.
create function api.resolve_admission(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_accounts(array(
    select account_id from keys where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i)));
  return query select resolve_admission(i) from jsonb_array_elements(items) as i;
end $$;

-- Gives the generation to the next attempt: from here on, what an earlier one reports is stale. Items: {request_id, account_id, attempt}.
create function api.fence(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  perform lock_named_accounts(items);
  for item in select * from jsonb_array_elements(items) loop
    update reservations set attempt = (item ->> 'attempt')::int
    where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint
      and state = 'pending' and attempt in ((item ->> 'attempt')::int - 1, (item ->> 'attempt')::int);
    return next jsonb_build_object('decision', case when found then 'fenced' else 'closed' end);
  end loop;
end $$;
