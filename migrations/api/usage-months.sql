-- The cron asks for the months of usage before they begin.

-- Items: {months_ahead}.
create function api.add_usage_months(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  this_month date := date_trunc('month', clock_timestamp() at time zone 'UTC');
begin
  for item in select * from jsonb_array_elements(items) loop
    perform add_usage_month((this_month + ahead * interval '1 month')::date)
    from generate_series(0, (item ->> 'months_ahead')::int) as ahead;
    return next '{"decision": "added"}';
  end loop;
end $$;

select api.add_usage_months('[{"months_ahead": 2}]');
