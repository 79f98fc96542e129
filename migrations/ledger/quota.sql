-- What a request is told that could cost more than there is: how much there is, how much it asked for, and what of it would fit.

-- The bounds of what may be spent: the cap of the key, that of its account, and the balance with its overdraft.
create function ledger.spend_bounds(key keys, account accounts, own meters, whole meters) returns setof ledger.spend_bound
language sql stable as $$
  select 'key_cap', key.monthly_spend_cap_nanousd, own.held_nanousd,
    key.monthly_spend_cap_nanousd::numeric - own.held_nanousd - charged_this_month(own)
  where key.monthly_spend_cap_nanousd is not null
  union all
  select 'account_cap', account.monthly_spend_cap_nanousd, whole.held_nanousd,
    account.monthly_spend_cap_nanousd::numeric - whole.held_nanousd - charged_this_month(whole)
  where account.monthly_spend_cap_nanousd is not null
  union all
  select 'balance', account.credited_nanousd - account.debited_nanousd, account.pending_nanousd,
    account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd
$$;

create function ledger.charged_this_month(meter meters) returns bigint language sql stable as $$
  select case when meter.month = this_month() then meter.charged_nanousd else 0 end
$$;

-- {quota}: the bound that refused, and the most tokens a choice could have under all of them; null where not one would fit.
create function ledger.quota(refusal text, asked ledger.candidate, account accounts, own meters, whole meters, amount numeric)
returns jsonb language sql stable as $$
  with bounds as materialized (select * from spend_bounds(asked.key, account, own, whole)),
  refused as (
    select * from bounds where (bound = 'balance') = (refusal = 'insufficient_quota') order by room limit 1)
  select jsonb_build_object('quota', jsonb_build_object(
    'bound', bound,
    'limit_nanousd', limit_nanousd::text,
    'overdraft_nanousd', (case when bound = 'balance' then account.overdraft_nanousd else 0 end)::text,
    'held_nanousd', held_nanousd::text,
    'left_nanousd', greatest(room, 0)::text,
    'asked_nanousd', amount::text,
    'max_tokens', max_tokens_within((select min(room) from bounds), asked)))
  from refused
$$;

-- The most tokens each choice may have for the whole request to cost no more than that, or null where it is not even one.
create function ledger.max_tokens_within(room numeric, asked ledger.candidate) returns numeric language sql stable as $$
  select nullif(greatest(0, div(
    room - cost_nanousd(asked.price, asked.prompt_tokens_max, 0, 0),
    nullif((asked.price).output_nanousd_per_token::numeric * coalesce((asked.item ->> 'choices')::bigint, 1), 0))), 0)
$$;
