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
