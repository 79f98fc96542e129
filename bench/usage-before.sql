-- The usage report as one SQL function, which it was before drizzle reads it: what bench/usage.ts measures it beside.

set search_path = public, ledger;

-- The sums of one account over some days, as [{day, key_id, model, tag, …}] with those that were asked for. A key's usage counts
-- under each of its tags, that of keys without any under ''.
create or replace function ledger.sum_usage_before(owner bigint, starts date, ends date, group_by text[], rows_max int) returns jsonb
language plpgsql stable set enable_seqscan = off as $$
begin
  return (select coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(sums))), '[]') from (
    select
      case when 'day' = any (group_by) then u.day end as day,
      case when 'key' = any (group_by) then u.key_id::text end as key_id,
      case when 'model' = any (group_by) then u.model end as model,
      tag,
      sum(request_count)::bigint as requests,
      sum(prompt_tokens)::bigint as prompt_tokens,
      sum(cached_tokens)::bigint as cached_tokens,
      sum(completion_tokens)::bigint as completion_tokens,
      sum(cost_nanousd)::text as cost_nanousd
    from usage_daily u
    join keys k on k.id = u.key_id
    cross join lateral unnest(case
      when not 'tag' = any (group_by) then array[null]
      when k.tags = '{}' then array['']
      else k.tags end) as tag
    where u.account_id = owner and u.day >= starts and u.day < ends
    group by 1, 2, 3, 4 order by 1, 2, 3, 4 limit rows_max) as sums);
end $$;

-- Items: {from, to: days of UTC, `to` not included; group_by; rows_max} and who asks; the operator names an account.
create or replace function api.report_usage_before(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    return next case
      when asker_refusal(asker, item, 'usage') is not null then
        jsonb_build_object('decision', asker_refusal(asker, item, 'usage'))
      else jsonb_build_object('decision', 'allowed', 'rows', sum_usage_before(
        coalesce(asker.account_id, (item ->> 'account_id')::bigint), (item ->> 'from')::date, (item ->> 'to')::date,
        array(select jsonb_array_elements_text(item -> 'group_by')), (item ->> 'rows_max')::int))
    end;
  end loop;
end $$;

do $$
begin
  execute format(
    'alter function api.report_usage_before(jsonb) security definer set search_path = %s, pg_temp', current_setting('search_path'));
end $$;
grant execute on function api.report_usage_before(jsonb) to ziya_gateway;
