-- LoRA adapters, as an operator makes them known.

-- Items: {id, base, account_id: whose alone it is}.
create function api.create_adapter(items jsonb) returns setof jsonb language sql as $$ select create_adapter(i) from jsonb_array_elements(items) as i $$;

-- Items: {id}.
create function api.remove_adapter(items jsonb) returns setof jsonb language sql as $$ select remove_adapter(i) from jsonb_array_elements(items) as i $$;

-- All of them, by their ids.
create function api.read_adapters(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', 'read', 'adapters', (
    select coalesce(jsonb_agg(adapter_report(a) order by id), '[]') from adapters a))
  from jsonb_array_elements(items)
$$;
