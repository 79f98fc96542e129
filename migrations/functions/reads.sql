-- What an account may see of itself. Each call decides by the key alone, so another account's id looks like a missing one.

create or replace function balance_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', account.id::text,
    'credited_nanousd', account.credited_nanousd::text,
    'debited_nanousd', account.debited_nanousd::text,
    'pending_nanousd', account.pending_nanousd::text,
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'available_nanousd',
      (account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd)::text)
$$;

create or replace function read_balance(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'))
    || case when refusal is null then balance_report(account) else '{}' end
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- One request as its account sees it: state, counts and price; the lines of the ledger that belong to it.
create or replace function usage_report(held reservations) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'request_id', held.request_id,
    'account_id', held.account_id::text,
    'model', held.model,
    'key_id', held.key_id::text,
    'state', held.state,
    'attempt', held.attempt,
    'created_unix_s', floor(extract(epoch from held.created_at))::bigint,
    'reserved_nanousd', held.amount_nanousd::text,
    'price_version', held.price_version,
    'input_nanousd_per_token', p.input_nanousd_per_token::text,
    'cached_input_nanousd_per_token', p.cached_input_nanousd_per_token::text,
    'output_nanousd_per_token', p.output_nanousd_per_token::text,
    'prompt_tokens', u.prompt_tokens,
    'cached_tokens', u.cached_tokens,
    'completion_tokens', u.completion_tokens,
    'delivered_tokens', u.delivered_tokens,
    'outcome', u.outcome,
    'first_token_ms', u.first_token_ms,
    'duration_ms', u.duration_ms,
    'cost_nanousd', u.cost_nanousd::text,
    'entries', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', e.id::text, 'sequence', e.sequence, 'kind', e.kind, 'amount_nanousd', e.amount_nanousd::text)
        order by e.sequence), '[]')
      from entries e -- two indexes, each of some kinds
      where (e.request_id = held.request_id and e.kind in ('usage', 'late_usage'))
        or (e.request_id = held.request_id and e.kind = 'refund')))
  from prices p left join usage u on u.request_id = held.request_id and u.settled_at = held.settled_at
  where p.model = held.model and p.version = held.price_version
$$;

create or replace function read_usage(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  held reservations;
begin
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    select * into held from reservations
    where request_id = (item ->> 'request_id')::uuid and (item ? 'operator' or account_id = asker.account_id);
    return next case
      when asker_refusal(asker, item, 'usage') is not null then
        jsonb_build_object('decision', asker_refusal(asker, item, 'usage'))
      when held.request_id is null then jsonb_build_object('decision', 'not_found')
      else jsonb_build_object('decision', 'allowed', 'usage', usage_report(held))
    end;
  end loop;
end $$;

-- The newest first, `limit` at most, those before `after`; one more than asked for tells whether there are more.
create or replace function list_usage(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
  last_seen reservations;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    select * into last_seen from reservations
    where request_id = (item ->> 'after')::uuid and account_id = key.account_id;
    return next case
      when key_refusal(key, 'usage', item) is not null then jsonb_build_object('decision', key_refusal(key, 'usage', item))
      when item ->> 'after' is not null and last_seen.request_id is null then jsonb_build_object('decision', 'not_found')
      else jsonb_build_object('decision', 'allowed', 'usage', (
        select coalesce(jsonb_agg(report order by created_at desc, request_id), '[]') from (
          select usage_report(r) as report, created_at, request_id from reservations r
          where account_id = key.account_id and created_at <= coalesce(last_seen.created_at, 'infinity') and (
            last_seen.request_id is null or created_at < last_seen.created_at
            or (created_at = last_seen.created_at and request_id > last_seen.request_id))
          order by created_at desc, request_id limit (item ->> 'limit')::int + 1) as page))
    end;
  end loop;
end $$;
