-- Files: begun, written part by part, read by keys of their account, and forgotten.

-- Begins a file and names its first part. Items: {key_hash, address, knows_suspension, created_by, bytes_max, account_bytes_max, part_id}.
create function api.begin_file(items jsonb) returns setof jsonb language sql as $$ select begin_file(i) from jsonb_array_elements(items) as i $$;

-- Notes that a part is written, and names the next one. Items: {account_id, file_id, part: {id, bytes}, next_id}.
create function api.write_part(items jsonb) returns setof jsonb language sql as $$ select write_part(i) from jsonb_array_elements(items) as i $$;

-- The file is whole. Items: {account_id, file_id, part: {id, bytes}, filename, purpose, expires_after_s}.
create function api.finish_file(items jsonb) returns setof jsonb language sql as $$ select finish_file(i) from jsonb_array_elements(items) as i $$;

-- What is written of it is wanted no longer. Items: {account_id, file_id}.
create function api.abandon_file(items jsonb) returns setof jsonb language sql as $$ select abandon_file(i) from jsonb_array_elements(items) as i $$;

-- Items: {key_hash, address, knows_suspension, file_id}; with {with_parts: true} also where its bytes are.
create function api.read_file(items jsonb) returns setof jsonb language sql as $$ select read_file(i) from jsonb_array_elements(items) as i $$;

-- Items: {key_hash, address, knows_suspension, file_id}.
create function api.delete_file(items jsonb) returns setof jsonb language sql as $$ select delete_file(i) from jsonb_array_elements(items) as i $$;

-- Parts whose objects nobody may read any more. Items: {count_max}.
create function api.due_parts(items jsonb) returns setof jsonb language sql as $$ select due_parts((i ->> 'count_max')::int) from jsonb_array_elements(items) as i $$;

-- Their objects are gone. Items: {part_ids}.
create function api.forget_parts(items jsonb) returns setof jsonb language sql as $$ select forget_parts(i) from jsonb_array_elements(items) as i $$;
