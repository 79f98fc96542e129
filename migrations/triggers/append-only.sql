-- What was written down for good. The numbered migrations bind trigger functions to their tables; what they do is kept up to date here.

create or replace function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

create or replace function refuse_delete() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are never deleted', tg_table_name using errcode = 'restrict_violation';
end $$;

create or replace function refuse_change_of_closed() returns trigger language plpgsql as $$
begin
  if exists (
    select from invoices where account_id = coalesce(old.account_id, new.account_id)
      and number = coalesce(old.number, new.number) and closed_at is not null) then
    raise exception 'a closed invoice is immutable' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
