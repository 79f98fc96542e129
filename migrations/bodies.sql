-- A function whose body names what is not there fails the migration, and not the first call of it.
set local check_function_bodies = on;

do $$
declare
  made record;
begin
  for made in
    select p.oid, pronamespace::regnamespace || '.' || proname as name, lanvalidator::regproc as validate
    from pg_proc p join pg_language l on l.oid = prolang
    where pronamespace in ('api'::regnamespace, 'ledger'::regnamespace) and lanvalidator <> 0
  loop
    begin
      execute format('select %s(%s)', made.validate, made.oid);
    exception
      when others then raise exception '%: %', made.name, sqlerrm using errcode = sqlstate;
    end;
  end loop;
end $$;
