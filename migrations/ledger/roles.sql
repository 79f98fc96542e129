-- Makes a role that logins are members of, or says what the gateway has to do without it.
create function ledger.make_role(role text, otherwise text) returns void language plpgsql as $$
begin
  if not exists (select from pg_roles where rolname = role) then
    execute format('create role %I nologin', role);
  end if;
exception
  when unique_violation or duplicate_object then null; -- roles are the server's: another database of it was as fast
  when insufficient_privilege then raise warning 'this user may not create roles: the gateway has to %', otherwise;
end $$;

-- Nobody but the owner makes large objects, which would fill a disk. Only a superuser can say so.
create function ledger.withdraw_large_objects() returns void language plpgsql as $$
declare
  making regprocedure;
begin
  for making in select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname in ('lo_creat', 'lo_create', 'lo_from_bytea') loop
    execute format('revoke execute on function %s from public', making);
  end loop;
exception
  when insufficient_privilege then null;
end $$;
