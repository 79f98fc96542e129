-- That the database answers, and what is served.

-- For the health endpoint: that the database answers, and how many nodes serve each model.
create function api.health(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return next jsonb_build_object('decision', 'healthy', 'models', (
      select coalesce(jsonb_object_agg(model, live), '{}') from (
        select model, count(*) as live from nodes
        where state = 'ready' and last_seen_at > clock_timestamp() - interval '5 seconds' group by model) as serving));
  end loop;
end $$;
