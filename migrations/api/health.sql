-- That the database answers, and what is served.

-- For the health endpoint: that the database answers, and how many nodes serve each model. Items: {registered_nodes: true}; without it
-- those that report to a gateway of the release before are counted.
create function api.health(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return next jsonb_build_object('decision', 'healthy', 'models', (
      select coalesce(jsonb_object_agg(model, live), '{}') from (
        select model, count(*) as live from (
          select model from registered_nodes
          where item ? 'registered_nodes' and state = 'ready' and drained_at is null and is_live(last_seen_at)
          union all
          select model from nodes where not item ? 'registered_nodes' and state = 'ready' and is_live(last_seen_at)) as serving
        group by model) as counted));
  end loop;
end $$;
