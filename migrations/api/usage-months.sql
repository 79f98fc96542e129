-- The cron asks for the months of usage before they begin.

-- Items: {months_ahead}. Answers `locked` where months are missing that cannot be made now.
create function api.add_usage_months(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  this_month date := date_trunc('month', clock_timestamp() at time zone 'UTC');
begin
  for item in select * from jsonb_array_elements(items) loop
    return next jsonb_build_object(
      'decision', case when add_usage_months(this_month, (item ->> 'months_ahead')::int) then 'added' else 'locked' end);
  end loop;
end $$;

select api.add_usage_months('[{"months_ahead": 2}]');
