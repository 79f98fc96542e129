-- The price book: how a price is published, and who sees which.

create function api.publish_price(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  lock table prices in share row exclusive mode; -- one publisher at a time; readers go on
  for item in select * from jsonb_array_elements(items) loop
    return next publish_one_price(item);
  end loop;
end $$;

-- What each model costs a key's account now: {model: price}, without those that have no price for it yet; with it the models that the
-- key may use, null where it may use all, those that a node serves now, and the adapters that the account may ask: {id: base}.
create function api.read_prices(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    return next case
      when key_refusal(key, 'generate', item) is not null then
        jsonb_build_object('decision', key_refusal(key, 'generate', item))
      else jsonb_build_object('decision', 'allowed', 'prices', (
        select coalesce(jsonb_object_agg(models.model, price_report(price)), '{}')
        from (select distinct model from prices) as models,
          price_at(models.model, key.account_id, clock_timestamp()) as price
        where price.model is not null),
        'models', key.models, 'served', served_models(), 'adapters', adapters_of(key.account_id))
    end;
  end loop;
end $$;
