-- That the database answers, and what is served.

-- For the health endpoints. Items: {needs: names of functions in `api`}. Answers how many live nodes serve each model; of what is needed
-- that which the login may not call, and whether anything can be written (a standby answers every read).
create function api.health(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    return next jsonb_build_object('decision', 'healthy', 'models', (
      select coalesce(jsonb_object_agg(model, live), '{}') from (
        select model, count(*) as live from nodes
        where state = 'ready' and last_seen_at > clock_timestamp() - interval '5 seconds' group by model) as serving))
      || case when item ? 'needs' then jsonb_build_object(
        'missing', missing_of(item -> 'needs'),
        'writable', not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean) else '{}' end;
  end loop;
end $$;
