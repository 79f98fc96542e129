-- What every request writes is not looked up again: rows name the accounts, keys, prices and reservations that the same call has read,
-- and what may not be deleted, as triggers hold here, is still there. (Foreign keys took a fifth of the time of admit and settle. Where
-- a ticket is all there is to go by, restore looks each of them up.)

create function refuse_delete() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are never deleted', tg_table_name using errcode = 'restrict_violation';
end $$;

do $$
declare
  kept text;
begin
  foreach kept in array array['accounts', 'keys', 'reservations'] loop
    execute format('create trigger %I before delete on %I for each row execute function refuse_delete()', kept || '_are_kept', kept);
    execute format(
      'create trigger %I before truncate on %I for each statement execute function refuse_delete()', kept || '_are_not_emptied', kept);
  end loop;
end $$;

do $$
declare
  checked record;
begin
  for checked in
    select conrelid::regclass as hot, conname from pg_constraint
    where contype = 'f' and conparentid = 0
      and conrelid in ('reservations'::regclass, 'usage'::regclass, 'entries'::regclass)
  loop
    execute format('alter table %s drop constraint %I', checked.hot, checked.conname);
  end loop;
end $$;

-- Nothing looks for an account's entries by their ids, and an entry without a reference need not be in the index of references.
drop index entries_account_id_id_idx;
drop index entries_book_a_reference_once;
create unique index entries_book_a_reference_once on entries (reference) where reference is not null;
