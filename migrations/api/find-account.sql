-- Whose account is asked about, for what is read under another login (migrations/views): the tenant is decided by the key, in here.

-- Items: who asks, with the `scope` that a key needs for it; the operator names an account. A key sees its own account alone.
create function api.find_account(items jsonb) returns setof jsonb language sql as $$
  select case
    when refusal is not null then jsonb_build_object('decision', refusal)
    when a.id is null then '{"decision": "not_found"}'
    else jsonb_build_object('decision', 'allowed', 'account_id', a.id::text)
  end
  from jsonb_array_elements(items) with ordinality as i (item, place)
  cross join asker_of(item) as asker
  cross join asker_refusal(asker, item, item ->> 'scope') as refusal
  left join accounts a on a.id = coalesce(asker.account_id, (item ->> 'account_id')::bigint)
  order by place
$$;
