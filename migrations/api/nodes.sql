-- Nodes: what they report of themselves, and what an operator decides about them.

-- A node's report of itself. It is worth no disk write: what a crash forgets is said again in a second.
-- Items: {report_id, node_id, key, url, model, state, context_tokens, running, waiting, blocks_total, blocks_free, boot_id, folder_id,
-- boot_number, sequence, sent_unix_ms, running_ids, journal, job_slots: how many jobs it has room for, adapters: those that it serves beside its model}.
create function api.hear_node(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  return query select with_journal(hear_node(i), i) from jsonb_array_elements(items) as i;
end $$;

-- Items: {id, url, model, key (the public half), replace}.
create function api.create_node(items jsonb) returns setof jsonb language sql as $$ select create_node(i) from jsonb_array_elements(items) as i $$;

-- Items: {id, url, model, drain}, of which only the id is needed.
create function api.update_node(items jsonb) returns setof jsonb language sql as $$ select update_node(i) from jsonb_array_elements(items) as i $$;

-- Items: {id, key, overlap_s}.
create function api.rotate_node_key(items jsonb) returns setof jsonb language sql as $$ select rotate_node_key(i) from jsonb_array_elements(items) as i $$;

-- Items: {id}.
create function api.remove_node(items jsonb) returns setof jsonb language sql as $$ select remove_node(i) from jsonb_array_elements(items) as i $$;
