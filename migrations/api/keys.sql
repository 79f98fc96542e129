-- Keys: who may make, see, change and end them. A key gives none more than it has itself.

-- What is not said a key inherits from the one that makes it. Asked again with the same hash it is the same key.
create function api.create_key(items jsonb) returns setof jsonb language sql as $$ select create_key(i) from locking_askers(items) as i $$;

create function api.read_key(items jsonb) returns setof jsonb language sql as $$
  select allowed('key', key_report(key), refusal)
  from jsonb_array_elements(items) as item, asked_key(item)
$$;

-- A key changes no key that has more than itself, and gives none more than it has. A limit that is changed is changed for all that
-- share it.
create function api.update_key(items jsonb) returns setof jsonb language sql as $$ select update_key(i) from locking_askers(items) as i $$;

-- A new key in the place of another, which goes on to work for a while. Asked again with the same hash it is the same key.
-- The new secret goes to whoever asks: a key with limits gets none that counts on another meter, for that would be a second allowance.
create function api.rotate_key(items jsonb) returns setof jsonb language sql as $$ select rotate_key(i) from locking_askers(items) as i $$;

-- Any key with the scope may revoke any of its account: that takes nothing that a limit protects.
create function api.revoke_key(items jsonb) returns setof jsonb language sql as $$ select revoke_key(i) from locking_askers(items) as i $$;

-- Whoever holds a key may end it, from wherever and whatever else it may do. Its owner is told.
create function api.leak_key(items jsonb) returns setof jsonb language sql as $$ select leak_key(i) from locking_askers(items) as i $$;
