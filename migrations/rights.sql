-- Who may call what; applied after the functions, whenever any of them changed. A gateway logs in as a member of ziya_gateway, which may
-- call the functions of the schema `api` and touch no table: they run with the rights of their owner, who migrates. So whoever takes a
-- gateway over can do what its API does, and can neither read a key's hash nor rewrite what was booked.
--   create role my_gateway login password '…' in role ziya_gateway;

select make_role('ziya_gateway', 'log in as the owner of the tables');

do $$
declare
  owned text;
  callable regprocedure;
  grantees text := case when exists (select from pg_roles where rolname = 'ziya_gateway') then 'public, ziya_gateway' else 'public' end;
begin
  for owned in
    select format('table %s', oid::regclass) from pg_class
    where relnamespace = current_schema()::regnamespace and relowner = current_user::regrole and relkind in ('r', 'p')
    union all
    select format('function %s', oid::regprocedure) from pg_proc
    where pronamespace in (current_schema()::regnamespace, 'ledger'::regnamespace, 'api'::regnamespace)
      and proowner = current_user::regrole
      and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e') -- it belongs to an extension
  loop
    execute format('revoke all on %s from %s', owned, grantees);
  end loop;

  -- Names mean what they mean to the owner; pg_temp last, where no temporary table can stand in for one of ours.
  -- Nothing of a call is compiled first: that takes a hundred times what the statement does. And a call ends before whoever asked gives
  -- it up, so that behind a lock which somebody holds for long no callers gather on the server. A function's own settings hold through
  -- every pool of connections.
  for callable in select oid from pg_proc where pronamespace = 'api'::regnamespace loop
    execute format(
      'alter function %s security definer set search_path = %s, pg_temp set jit = off set lock_timeout = %L',
      callable, current_setting('search_path'), '250ms');
  end loop;

  -- What everybody may do in a database is more than a gateway needs: to make temporary tables, tables beside ours, large objects.
  execute format('revoke create, temporary on database %I from %s', current_database(), grantees);
  execute format('revoke create on schema %I from %s', current_schema(), grantees);
  perform withdraw_large_objects();

  if grantees <> 'public' then
    if has_database_privilege('ziya_gateway', current_database(), 'temporary') then
      raise warning 'the gateway may make temporary tables: the owner of the database % has to revoke that from public', current_database();
    end if;
    grant usage on schema api to ziya_gateway;
    grant execute on all functions in schema api to ziya_gateway;
  end if;
end $$;
