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
