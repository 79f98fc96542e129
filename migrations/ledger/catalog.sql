-- How a catalog becomes the one in force.

create function ledger.catalog_report(shown catalog_versions) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'version', shown.version, 'published_at', iso(shown.published_at), 'source', shown.source, 'models', shown.models)
$$;

-- {id: row}, for what is said of rows one by one.
create function ledger.catalog_rows(models jsonb) returns jsonb language sql immutable as $$
  select coalesce(jsonb_object_agg(model ->> 'id', model), '{}') from jsonb_array_elements(models) as listed (model)
$$;

-- What is the same already is not published again; and what a release brings is not put in the place of what an operator published.
-- Expects other publishers to be locked out.
create function ledger.publish_catalog(item jsonb) returns jsonb language plpgsql as $$
declare
  last catalog_versions;
  made catalog_versions;
  rows_before jsonb;
begin
  select * into last from catalog_versions order by version desc limit 1;
  if last.models = item -> 'models' then
    return catalog_report(last) || '{"decision": "published"}';
  elsif item ->> 'source' = 'release' and last.source = 'operator' then
    return catalog_report(last) || '{"decision": "kept"}';
  end if;
  insert into catalog_versions (source, models) values (item ->> 'source', item -> 'models') returning * into made;
  rows_before := catalog_rows(coalesce(last.models, '[]'));
  if last.version is null then
    item := item - 'by'; -- where nothing was, nothing was changed
  end if;
  perform publish_row_price(item, model, rows_before -> (model ->> 'id')) from jsonb_array_elements(made.models) as listed (model);
  perform audit(item, 'publish_catalog', null, 'catalog ' || made.version, rows_before, catalog_rows(made.models));
  return catalog_report(made) || '{"decision": "published"}';
end $$;

-- The price of a row that was not there before is published where the model has no list price yet. One that changed here is published,
-- whatever was published by itself meanwhile.
create function ledger.publish_row_price(item jsonb, model jsonb, model_before jsonb) returns jsonb language sql as $$
  select publish_one_price(price || jsonb_build_object('model', model ->> 'id', 'only_first', model_before is null)
    || case when item ? 'by' then jsonb_build_object('by', item -> 'by') else '{}' end)
  from (select model -> 'price' as price) as row
  where price is not null and price is distinct from model_before -> 'price'
$$;
