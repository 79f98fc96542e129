-- LoRA adapters: who sees which, what a node serves of them, and their prices.

-- Whether an adapter is another account's. For its owner alone there is such a model.
create function ledger.is_anothers(wanted text, asker bigint) returns boolean language sql stable as $$
  select exists (select from adapters where id = wanted and account_id <> asker)
$$;

-- The adapters that an account may ask, with their bases: {id: base}.
create function ledger.adapters_of(asker bigint) returns jsonb language sql stable as $$
  select coalesce(jsonb_object_agg(id, base), '{}') from adapters where account_id is null or account_id = asker
$$;

-- What a node of this model serves: that, and of the adapters that it names those over it.
create function ledger.served_by(model text, named text[]) returns setof text language sql stable as $$
  select model union all select id from adapters where base = model and id = any (named)
$$;

create function ledger.adapter_report(known adapters) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', known.id, 'base', known.base, 'account_id', known.account_id::text, 'created_at', iso(known.created_at))
$$;

-- Makes an adapter known, or gives it to another account, or to all. Another base would be another adapter.
create function ledger.create_adapter(item jsonb) returns jsonb language plpgsql as $$
declare
  known adapters;
  made adapters;
  owner bigint := (item ->> 'account_id')::bigint;
begin
  lock table prices in share row exclusive mode; -- as whoever publishes one does
  select * into known from adapters where id = item ->> 'id' for update;
  if owner is not null and not exists (select from accounts where id = owner) then
    return '{"decision": "unknown_account"}';
  elsif known.base <> item ->> 'base' then
    return '{"decision": "adapter_exists"}';
  end if;
  insert into adapters (id, base, account_id) values (item ->> 'id', item ->> 'base', owner)
  on conflict (id) do update set account_id = excluded.account_id returning * into made;
  if known.id is null then
    perform copy_prices(made, item);
  end if;
  perform audit(item, 'create_adapter', owner, 'adapter ' || made.id,
    case when known.id is not null then adapter_report(known) end, adapter_report(made));
  return jsonb_build_object('decision', 'created', 'adapter', adapter_report(made));
end $$;

-- Publishes for an adapter the prices of its base: those in force, and those that are to come.
create function ledger.copy_prices(adapter adapters, item jsonb) returns void language sql as $$
  select publish_one_price(item || jsonb_build_object(
    'model', adapter.id, 'follows', true, 'account_id', p.account_id, 'service_tier', p.service_tier,
    'input_nanousd_per_token', p.input_nanousd_per_token, 'cached_input_nanousd_per_token', p.cached_input_nanousd_per_token,
    'output_nanousd_per_token', p.output_nanousd_per_token, 'valid_until', p.valid_until,
    'valid_from', case when p.valid_from > clock_timestamp() then p.valid_from end))
  from prices p
  where p.model = adapter.base and (p.valid_until is null or p.valid_until > clock_timestamp()) and not exists (
    select from prices later
    where later.model = p.model and later.account_id is not distinct from p.account_id and later.service_tier = p.service_tier
      and (later.valid_from, later.version) > (p.valid_from, p.version) and later.valid_from <= clock_timestamp())
  order by p.version
$$;

-- A price of a model is one of the adapters over it that have none of their own; one of an adapter is its own from then on.
create function ledger.follow_price(item jsonb, starts timestamptz) returns void language plpgsql as $$
begin
  if not item ? 'follows' then
    update adapters set follows_prices = false where id = item ->> 'model';
  end if;
  perform publish_one_price(item || jsonb_build_object('model', id, 'follows', true, 'valid_from', starts))
  from adapters where base = item ->> 'model' and follows_prices order by id;
end $$;

-- What is booked by its name stays, and so do its prices.
create function ledger.remove_adapter(item jsonb) returns jsonb language plpgsql as $$
declare
  removed adapters;
begin
  delete from adapters where id = item ->> 'id' returning * into removed;
  if removed.id is null then
    return '{"decision": "not_found"}';
  end if;
  perform audit(item, 'remove_adapter', removed.account_id, 'adapter ' || removed.id, adapter_report(removed), null);
  return jsonb_build_object('decision', 'removed', 'adapter', adapter_report(removed));
end $$;
