-- The price book. A version is never changed: a reservation names the version it was admitted at and is settled at that one.

create table prices (
  model text not null,
  version int not null check (version > 0),
  input_nanousd_per_token bigint not null check (input_nanousd_per_token >= 0),
  output_nanousd_per_token bigint not null check (output_nanousd_per_token >= 0),
  valid_from timestamptz not null default clock_timestamp(),
  primary key (model, version)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger prices_are_immutable before update or delete on prices for each row execute function refuse_change();
create trigger prices_are_kept before truncate on prices for each statement execute function refuse_change();

create function price_now(wanted text) returns prices language plpgsql as $$
declare
  price prices;
begin
  select * into price from prices
  where model = wanted and valid_from <= clock_timestamp() order by version desc limit 1;
  return price;
end $$;

-- A new version only where the price differs from the last one, so that publishing the catalog again changes nothing.
create function publish_price(items jsonb) returns setof jsonb language plpgsql as $$
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
