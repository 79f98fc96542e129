-- What admit is made of: what keeps a key from running, how an admission is answered, and how it is written down.

create function ledger.admission(held reservations, account accounts, nodes jsonb) returns jsonb language sql stable as $$
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
create function ledger.admission_refusal(key keys, item jsonb) returns text language sql as $$
  select coalesce(
    key_refusal(key, 'generate', item),
    case when key.models is not null and item ->> 'model' <> all (key.models) then 'model_not_allowed' end)
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
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at, tokens_max)
  select request_id, account_id, key_id, model, price_version, amount_nanousd, 1, state, moment, expires_at, tokens_max
  from unnest(made);
end $$;
