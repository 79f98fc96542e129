-- Usage by the metadata of requests. Whoever writes another value on each request costs no more than so many rows a day.

create function ledger.metadata_names_max() returns int language sql immutable as 'select 32';
create function ledger.metadata_rows_max() returns int language sql immutable as 'select 1000'; -- of a name, on a day

-- Adds up what was settled by each name and value. Expects the accounts to be locked.
create function ledger.add_up_metadata(settled settlement[], moment timestamptz) returns void language plpgsql as $$
declare
  today date := (moment at time zone 'UTC')::date;
begin
  with told as (
    select distinct account_id, name from unnest(settled) as s, jsonb_object_keys(metadata) as name
    where decision in ('posted', 'late')),
  placed as (
    select account_id, name, row_number() over (partition by account_id order by name) + (
      select count(*) from usage_metadata_names n where n.account_id = told.account_id and day = today and n.name <> '') as place
    from told
    where not exists (
      select from usage_metadata_names n where n.account_id = told.account_id and day = today and n.name = told.name))
  insert into usage_metadata_names (account_id, day, name, is_full)
  select account_id, today, case when place <= metadata_names_max() then name else '' end, place > metadata_names_max() from placed
  on conflict do nothing;

  with told as (
    select account_id, key_id, model, name, value, count(*) as request_count, sum(prompt_tokens) as prompt_tokens,
      sum(cached_tokens) as cached_tokens, sum(completion_tokens) as completion_tokens, sum(charge_nanousd) as cost_nanousd
    from unnest(settled) as s, jsonb_each_text(metadata) as pair (name, value)
    where decision in ('posted', 'late') group by account_id, key_id, model, name, value),
  placed as (
    select told.*, d.account_id is not null as is_known,
      row_count + row_number() over (
        partition by told.account_id, told.name, d.account_id is null order by told.value, told.key_id, told.model) as place
    from told join usage_metadata_names n on n.account_id = told.account_id and n.day = today and n.name = told.name
    left join usage_metadata_daily d on d.account_id = told.account_id and d.name = told.name and d.day = today
      and d.value = told.value and d.key_id = told.key_id and d.model = told.model),
  kept as (
    insert into usage_metadata_daily as d
    select account_id, name, today, value, key_id, model, request_count, prompt_tokens, cached_tokens, completion_tokens, cost_nanousd
    from placed where is_known or place <= metadata_rows_max()
    on conflict (account_id, name, day, value, key_id, model) do update set
      request_count = d.request_count + excluded.request_count,
      prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
      cached_tokens = d.cached_tokens + excluded.cached_tokens,
      completion_tokens = d.completion_tokens + excluded.completion_tokens,
      cost_nanousd = d.cost_nanousd + excluded.cost_nanousd)
  update usage_metadata_names n set row_count = row_count + made, is_full = is_full or is_beyond
  from (
    select account_id, name, count(*) filter (where not is_known and place <= metadata_rows_max()) as made,
      bool_or(not is_known and place > metadata_rows_max()) as is_beyond
    from placed group by account_id, name) as sums
  where n.account_id = sums.account_id and n.day = today and n.name = sums.name and (made > 0 or is_beyond);
end $$;

-- A refund belongs to the day of its charge, in each of its rows that there is.
create function ledger.refund_metadata(used reservations, amount bigint) returns void language sql as $$
  update usage_metadata_daily d set refunded_nanousd = refunded_nanousd + amount
  from jsonb_each_text(used.metadata) as pair (name, value)
  where d.account_id = used.account_id and d.name = pair.name and d.day = (used.settled_at at time zone 'UTC')::date
    and d.value = pair.value and d.key_id = used.key_id and d.model = used.model
$$;
