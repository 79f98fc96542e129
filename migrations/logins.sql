-- Applied at every run, because operators make logins between two of them: a statement of a reader's is not compiled first, which takes
-- longer than the statement. (A pool of connections forgets what a session sets, and keeps what its login has.) Answers the logins
-- that this user may not change.

create function pg_temp.calm_reader(login name) returns boolean language plpgsql as $$
begin
  execute format('alter role %I in database %I set jit = off', login, current_database());
  return true;
exception
  when insufficient_privilege then return false;
end $$;

with compiling as materialized ( -- first who is meant, then what is done to them
  select rolname as name from pg_roles r
  where rolcanlogin
    and exists (
      select from pg_auth_members m join pg_roles of on of.oid = m.roleid where m.member = r.oid and of.rolname = 'ziya_reader')
    and not exists (
      select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
      where s.setrole = r.oid and d.datname = current_database() and 'jit=off' = any (s.setconfig)))
select name from compiling where not pg_temp.calm_reader(name) order by name;
