-- Whether a request may run, decided in one call: key, scope, model, price, money, nodes, and then the reservation.

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

-- Expects the account to be locked. Items: {request_id, key_hash, model, prompt_tokens_max, output_tokens_max, ttl_ms}.
create or replace function admit_one(item jsonb) returns jsonb language plpgsql as $$
declare
  wanted_model text := item ->> 'model';
  key keys;
  refusal text;
  price prices;
  amount numeric;
  account accounts;
  nodes jsonb;
  held reservations;
begin
  select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');

  -- An answer that was lost is asked for again: the reservation that was made is the answer.
  select * into held from reservations where request_id = (item ->> 'request_id')::uuid;
  if found then
    select * into account from accounts where id = held.account_id;
    return case
      when (held.key_id, held.model, held.state) is distinct from (key.id, wanted_model, 'pending') then
        jsonb_build_object('decision', 'closed')
      else admission(held, account, live_nodes(wanted_model))
    end;
  end if;

  refusal := key_refusal(key, 'generate', item);
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  if key.models is not null and wanted_model <> all (key.models) then
    return jsonb_build_object('decision', 'model_not_allowed');
  end if;
  price := price_at(wanted_model, key.account_id, clock_timestamp());
  if price.model is null then
    return jsonb_build_object('decision', 'no_price');
  end if;

  nodes := live_nodes(wanted_model);
  amount := cost_nanousd(price, (item ->> 'prompt_tokens_max')::bigint, 0, (item ->> 'output_tokens_max')::bigint);
  update accounts set pending_nanousd = pending_nanousd + (case when nodes = '[]' then 0 else amount end)::bigint
  where id = key.account_id
    and debited_nanousd + pending_nanousd + amount <= credited_nanousd + overdraft_nanousd
  returning * into account;
  if not found then
    return jsonb_build_object('decision', 'insufficient_quota');
  end if;
  if nodes = '[]' then
    return jsonb_build_object('decision', 'no_node');
  end if;

  insert into reservations (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at)
  values (
    (item ->> 'request_id')::uuid, key.account_id, key.id, wanted_model, price.version, amount::bigint, 1, 'pending',
    clock_timestamp() + (item ->> 'ttl_ms')::bigint * interval '1 millisecond')
  returning * into held;
  return admission(held, account, nodes);
end $$;

-- The commit need not reach the disk: what a crash forgets, settle rebuilds from the signed ticket.
create or replace function admit(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  owners bigint[] := array(
    select account_id from keys
    where hash in (select decode(i ->> 'key_hash', 'hex') from jsonb_array_elements(items) as i));
begin
  perform set_config('synchronous_commit', 'off', true);
  perform lock_accounts(owners);
  perform expire_grants(owners); -- what has ended is not spent, though the cron has not come yet
  for item in select * from jsonb_array_elements(items) loop
    return next admit_one(item);
  end loop;
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
