-- Every account and every key gets its meter with it; a key that counts on another's needs none.

create or replace function add_account_meter() returns trigger language plpgsql as $$
begin
  insert into meters (account_id, key_id) values (new.id, 0);
  return null;
end $$;

create or replace function add_key_meter() returns trigger language plpgsql as $$
begin
  insert into meters (account_id, key_id) values (new.account_id, new.id);
  return null;
end $$;
