-- Partitions of usage, made before their month begins. The month of rows that came too early for theirs is made around them.

create function ledger.add_usage_month(first_day date) returns void language plpgsql as $$
declare
  name text := 'usage_' || to_char(first_day, 'YYYY_MM');
  starts timestamptz := first_day::timestamp at time zone 'UTC';
  ends timestamptz := (first_day + interval '1 month') at time zone 'UTC';
begin
  if to_regclass(name) is not null then
    return;
  end if;
  execute format('create table %I (like usage including all)', name);
  execute format(
    'with early as (delete from usage_default where settled_at >= %L and settled_at < %L returning *) insert into %I select * from early',
    starts, ends, name);
  execute format('alter table usage attach partition %I for values from (%L) to (%L)', name, starts, ends);
end $$;
