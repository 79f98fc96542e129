-- How the usage of a request is shown.

-- One request as its account sees it: state, counts and price; the lines of the ledger that belong to it.
create function ledger.usage_report(held reservations) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'request_id', held.request_id,
    'account_id', held.account_id::text,
    'model', held.model,
    'key_id', held.key_id::text,
    'state', held.state,
    'metadata', coalesce(held.metadata, '{}'),
    'attempt', held.attempt,
    'created_unix_s', floor(extract(epoch from held.created_at))::bigint,
    'reserved_nanousd', held.amount_nanousd::text,
    'service_tier', p.service_tier,
    'price_version', held.price_version,
    'input_nanousd_per_token', p.input_nanousd_per_token::text,
    'cached_input_nanousd_per_token', p.cached_input_nanousd_per_token::text,
    'output_nanousd_per_token', p.output_nanousd_per_token::text,
    'prompt_tokens', u.prompt_tokens,
    'cached_tokens', u.cached_tokens,
    'completion_tokens', u.completion_tokens,
    'delivered_tokens', u.delivered_tokens,
    'outcome', u.outcome,
    'usage_source', case when u.request_id is not null then coalesce(u.usage_source, 'engine') end,
    'first_token_ms', u.first_token_ms,
    'duration_ms', u.duration_ms,
    'cost_nanousd', u.cost_nanousd::text,
    'refunded_nanousd', refunded::text,
    'net_nanousd', (u.cost_nanousd - refunded)::text,
    'entries', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', e.id::text, 'sequence', e.sequence, 'kind', e.kind, 'amount_nanousd', e.amount_nanousd::text,
        'effect_nanousd', effect_nanousd(e)::text)
        order by e.sequence), '[]')
      from entries e -- two indexes, each of some kinds
      where (e.request_id = held.request_id and e.kind in ('usage', 'late_usage'))
        or (e.request_id = held.request_id and e.kind = 'refund')))
    || case when u.verification is null then '{}' else jsonb_build_object('verification', u.verification) end
    || case when held.asked_model is not null then jsonb_build_object('asked_model', held.asked_model) else '{}' end
  from prices p left join usage u on u.request_id = held.request_id and u.settled_at = held.settled_at
  cross join lateral (
    select coalesce(sum(amount_nanousd), 0) as refunded from entries e where e.request_id = held.request_id and e.kind = 'refund') as back
  where p.model = held.model and p.version = held.price_version
$$;
