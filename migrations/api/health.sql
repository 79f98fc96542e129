-- That the database answers, and what is served.

-- For the health endpoints. Items: {registered_nodes: true, needs: names of functions in `api`}. Answers how many live nodes serve each
-- model (without registered_nodes those that report to a gateway of the release before); of what is needed that which the login may not
-- call, and whether anything can be written (a standby answers every read).
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
        group by model) as counted))
      || case when item ? 'needs' then jsonb_build_object(
        'missing', missing_of(item -> 'needs'),
        'writable', not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean) else '{}' end;
  end loop;
end $$;
