-- What tokens cost now, and how a new version of a price is published.

create or replace function price_now(wanted text) returns prices language plpgsql as $$
declare
  price prices;
begin
  select * into price from prices
  where model = wanted and valid_from <= clock_timestamp() order by version desc limit 1;
  return price;
end $$;

-- What tokens cost. Numeric in between, so that absurd counts become a large number and not an error.
create or replace function cost_nanousd(price prices, input_tokens bigint, output_tokens bigint) returns numeric language sql immutable as $$
  select price.input_nanousd_per_token::numeric * input_tokens + price.output_nanousd_per_token::numeric * output_tokens
$$;

-- A new version only where the price differs from the last one, so that publishing the catalog again changes nothing.
create or replace function publish_price(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  latest prices;
begin
  lock table prices in share row exclusive mode; -- one publisher at a time; readers go on
  for item in select * from jsonb_array_elements(items) loop
    select * into latest from prices where model = item ->> 'model' order by version desc limit 1;
    if (latest.input_nanousd_per_token, latest.output_nanousd_per_token) is distinct from
       ((item ->> 'input_nanousd_per_token')::bigint, (item ->> 'output_nanousd_per_token')::bigint) then
      insert into prices (model, version, input_nanousd_per_token, output_nanousd_per_token)
      values (
        item ->> 'model', coalesce(latest.version, 0) + 1,
        (item ->> 'input_nanousd_per_token')::bigint, (item ->> 'output_nanousd_per_token')::bigint)
      returning * into latest;
    end if;
    return next jsonb_build_object('decision', 'published', 'version', latest.version);
  end loop;
end $$;
