-- Partitions of usage, made before their month begins. The month of rows that came too early for theirs is made around them.

-- Whether all are there now. A month is made under locks that every settlement queues behind: where somebody reads usage for long, they
-- are not waited for. There is time until the month begins, and afterwards its rows have a place all the same.
create function ledger.add_usage_months(from_day date, months_ahead int) returns boolean language plpgsql
  set lock_timeout = '50ms' as $$
begin
  perform add_usage_month((from_day + ahead * interval '1 month')::date) from generate_series(0, months_ahead) as ahead;
  return true;
exception
  when lock_not_available then return false;
end $$;

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
