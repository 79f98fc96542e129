-- Batches: asked for by keys of their account, and brought on step by step by whoever leases them.

-- Makes a batch of a file. Items: {key_hash, address, knows_suspension, created_by, input_file_id, endpoint, metadata, output_expires_after_s}.
create function api.create_batch(items jsonb) returns setof jsonb language sql as $$ select create_batch(i) from jsonb_array_elements(items) as i $$;

-- Items: {key_hash, address, knows_suspension, batch_id}.
create function api.read_batch(items jsonb) returns setof jsonb language sql as $$ select read_batch(i) from jsonb_array_elements(items) as i $$;

-- The newest first. Items: {key_hash, address, knows_suspension, limit, after}.
create function api.list_batches(items jsonb) returns setof jsonb language sql as $$ select list_batches(i) from jsonb_array_elements(items) as i $$;

-- Begins nothing more of a batch; what runs is finished. Items: {key_hash, address, knows_suspension, batch_id}.
create function api.cancel_batch(items jsonb) returns setof jsonb language sql as $$ select cancel_batch(i) from jsonb_array_elements(items) as i $$;

-- The next step of a batch for which something is to be done now, which nobody else is given meanwhile. Items: {lease, output_part_id, error_part_id}.
create function api.claim_batch(items jsonb) returns setof jsonb language sql as $$ select claim_batch(i) from jsonb_array_elements(items) as i $$;

-- Notes lines that were read and checked. Items: {batch_id, lease, read_bytes, read_lines, model, lines, errors, is_end}.
create function api.note_lines(items jsonb) returns setof jsonb language sql as $$ select note_lines(i) from jsonb_array_elements(items) as i $$;

-- Notes which lines are jobs now, and which never will be. Items: {batch_id, lease, offered, refused, wait_ms}.
create function api.note_offers(items jsonb) returns setof jsonb language sql as $$ select note_offers(i) from jsonb_array_elements(items) as i $$;

-- Notes which lines are written, and where. Items: {batch_id, lease, numbers, output, error}.
create function api.note_results(items jsonb) returns setof jsonb language sql as $$ select note_results(i) from jsonb_array_elements(items) as i $$;

-- Forgets lines of batches that have ended, and batches that ended long ago. Items: {count_max}.
create function api.forget_batches(items jsonb) returns setof jsonb language sql as $$ select forget_batches((i ->> 'count_max')::int) from jsonb_array_elements(items) as i $$;
