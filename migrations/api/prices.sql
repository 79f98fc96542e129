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

-- The price book for an operator, newest version first. Items: {model, account_id, limit}, the first two null for all.
create function api.list_prices(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return next jsonb_build_object('decision', 'allowed', 'prices', (
      select coalesce(jsonb_agg(price_report(p) order by model, version desc), '[]') from (
        select * from prices
        where (item ->> 'model' is null or model = item ->> 'model')
          and (item ->> 'account_id' is null or account_id = (item ->> 'account_id')::bigint)
        order by model, version desc limit (item ->> 'limit')::int) as p));
  end loop;
end $$;

-- What each model costs a key's account now: {model: price}.
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
        select coalesce(jsonb_object_agg(model, price_report(price_at(model, key.account_id, clock_timestamp()))), '{}')
        from (select distinct model from prices) as models))
    end;
  end loop;
end $$;
