-- The catalog of models: read by every gateway, published whole.

-- Items: {known: the version that the gateway has, null where it has none}.
create function api.read_catalog(items jsonb) returns setof jsonb language sql stable as $$
  select case
    when last.version is null then '{"decision": "unpublished"}'::jsonb
    when last.version = (item ->> 'known')::bigint then '{"decision": "unchanged"}'
    else catalog_report(last) || '{"decision": "published"}'
  end
  from jsonb_array_elements(items) as item
  left join lateral (select * from catalog_versions order by version desc limit 1) as last on true
$$;

-- Items: {models, source, by}. A row's price that is another than it was before becomes the list price.
create function api.publish_catalog(items jsonb) returns setof jsonb language plpgsql as $$
begin
  lock table prices in share row exclusive mode; -- one publisher at a time, as for prices; readers go on
  return query select publish_catalog(i) from jsonb_array_elements(items) as i;
end $$;
