-- What tokens cost at a moment, and how a new version of a price is published. A version is never changed or taken back.

-- The price of a model and tier for an account: what was agreed with it, where that is in force, else the list price. Of several the one
-- that began last. Null where there is none.
create function ledger.price_at(wanted text, payer bigint, moment timestamptz, tier text default 'default') returns prices
language plpgsql stable as $$
declare
  price prices;
begin
  select * into price from prices
  where model = wanted and account_id = payer and service_tier = tier and valid_from <= moment order by valid_from desc, version desc limit 1;
  if not found or price.valid_until <= moment then
    select * into price from prices
    where model = wanted and account_id is null and service_tier = tier and valid_from <= moment order by valid_from desc, version desc limit 1;
  end if;
  return price;
end $$;

-- What tokens cost. Numeric in between, so that absurd counts become a large number and not an error.
create function ledger.cost_nanousd(price prices, input_tokens bigint, cached_tokens bigint, output_tokens bigint)
returns numeric language sql immutable as $$
  select price.input_nanousd_per_token::numeric * (input_tokens - cached_tokens)
    + price.cached_input_nanousd_per_token::numeric * cached_tokens
    + price.output_nanousd_per_token::numeric * output_tokens
$$;

create function ledger.price_report(price prices) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'model', price.model,
    'version', price.version,
    'service_tier', price.service_tier,
    'account_id', price.account_id::text,
    'input_nanousd_per_token', price.input_nanousd_per_token::text,
    'cached_input_nanousd_per_token', price.cached_input_nanousd_per_token::text,
    'output_nanousd_per_token', price.output_nanousd_per_token::text,
    'valid_from', iso(price.valid_from),
    'valid_until', iso(price.valid_until))
$$;

-- Publishes one price; the table is locked against other publishers. Items: {model, input_nanousd_per_token,
-- output_nanousd_per_token} and, where wanted, {service_tier, cached_input_nanousd_per_token, account_id, valid_from, valid_until,
-- only_first: not where the model has a price of this kind already,
-- follows: the model is an adapter, and it is its base's price}. What would change nothing is not published again.
create function ledger.publish_one_price(item jsonb) returns jsonb language plpgsql as $$
declare
  payer bigint := (item ->> 'account_id')::bigint;
  tier text := coalesce(item ->> 'service_tier', 'default');
  starts timestamptz := coalesce((item ->> 'valid_from')::timestamptz, clock_timestamp());
  input bigint := (item ->> 'input_nanousd_per_token')::bigint;
  cached bigint := coalesce((item ->> 'cached_input_nanousd_per_token')::bigint, input);
  latest prices;
  made prices;
begin
  if payer is not null and not exists (select from accounts where id = payer) then
    return jsonb_build_object('decision', 'unknown_account');
  end if;
  select * into latest from prices
  where model = item ->> 'model' and account_id is not distinct from payer and service_tier = tier
    and (valid_from <= starts or (item ->> 'only_first')::boolean)
  order by valid_from desc, version desc limit 1;
  if found and ((item ->> 'only_first')::boolean or
     (latest.input_nanousd_per_token, latest.cached_input_nanousd_per_token, latest.output_nanousd_per_token, latest.valid_until)
     is not distinct from (input, cached, (item ->> 'output_nanousd_per_token')::bigint, (item ->> 'valid_until')::timestamptz)) then
    return jsonb_build_object('decision', 'published', 'version', latest.version, 'price', price_report(latest));
  end if;
  if starts < clock_timestamp() - interval '1 minute' then -- what was charged by then cannot be charged otherwise
    return jsonb_build_object('decision', 'begins_in_the_past');
  end if;
  if (item ->> 'valid_until')::timestamptz < starts then
    return jsonb_build_object('decision', 'ends_before_it_begins');
  end if;
  insert into prices
    (model, version, account_id, service_tier, input_nanousd_per_token, cached_input_nanousd_per_token, output_nanousd_per_token,
     valid_from, valid_until)
  select item ->> 'model', coalesce(max(version), 0) + 1, payer, tier, input, cached, (item ->> 'output_nanousd_per_token')::bigint,
    starts, (item ->> 'valid_until')::timestamptz
  from prices where model = item ->> 'model'
  returning * into made;
  perform announce(made);
  perform follow_price(item, starts);
  perform audit(item, 'publish_price', payer, 'price ' || made.version || ' of ' || made.model, 
    case when latest.model is not null then price_report(latest) end, price_report(made));
  return jsonb_build_object('decision', 'published', 'version', made.version, 'price', price_report(made));
end $$;
