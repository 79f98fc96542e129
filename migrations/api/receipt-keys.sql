-- Who signs notes its key before its first signature and then once an hour, so a key's time is known: nothing was signed with it
-- before it was first noted, nor two hours after it was last.

-- Items: {kid, x}.
create function api.note_receipt_key(items jsonb) returns setof jsonb language sql as $$
  with noted as (
    insert into receipt_keys (kid, x) select distinct item ->> 'kid', item ->> 'x' from jsonb_array_elements(items) as item
    on conflict (kid) do update set last_noted_at = clock_timestamp())
  select '{"decision": "noted"}'::jsonb from jsonb_array_elements(items)
$$;

-- The one in use has no end. The others have, once it can be told.
create function api.list_receipt_keys(items jsonb) returns setof jsonb language sql stable as $$
  select jsonb_build_object('decision', 'allowed', 'keys', (
    select coalesce(jsonb_agg(jsonb_build_object('kid', kid, 'x', x, 'nbf', floor(extract(epoch from first_noted_at)))
      || case when is_replaced then jsonb_build_object('exp', ceil(extract(epoch from ends_at))) else '{}' end
      order by first_noted_at desc, kid), '[]')
    from (
      select *, last_noted_at + interval '2 hours' as ends_at,
        last_noted_at + interval '2 hours' < clock_timestamp() and last_noted_at < max(last_noted_at) over () as is_replaced
      from receipt_keys) as known))
  from jsonb_array_elements(items)
$$;
