-- What a key may ask about a model beside generations.

-- The nodes that can be asked, for a key that may use the model, and of an adapter its base. Items: {key_hash, address, knows_suspension,
-- model, alias}.
create function api.find_nodes(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    return next coalesce(
      admission_refusal(key, (select suspended_at from accounts where id = key.account_id), item),
      jsonb_build_object(
        'decision', 'found', 'nodes', live_nodes(item ->> 'model'),
        'base', (select base from adapters where id = item ->> 'model')));
  end loop;
end $$;

-- What admit would answer now, and the price it would be by. All that it does is undone, so nothing is held and nothing counted.
-- Items: those of admit, without an idempotency.
create function api.estimate(items jsonb) returns setof jsonb language plpgsql as $$
declare
  owners bigint[] := owners_of_keys(items);
  moment timestamptz;
  answers jsonb[];
begin
  begin
    perform lock_accounts(owners);
    moment := clock_timestamp();
    perform expire_grants(owners, moment);
    answers := admit_in_order(items, owners, moment);
    raise exception using errcode = 'ZC001', message = 'undone';
  exception when sqlstate 'ZC001' then
    null; -- what was answered outlives what was done
  end;
  return query
    select jsonb_build_object('decision', 'estimated', 'verdict', answers[place],
      'price', case when price.version is not null then price_report(price) end)
    from generate_subscripts(answers, 1) as place,
      price_at(items -> (place - 1) ->> 'model', owners[place], moment,
        coalesce(items -> (place - 1) ->> 'service_tier', 'default')) as price
    order by place;
end $$;
