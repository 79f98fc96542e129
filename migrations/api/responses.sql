-- Responses that are stored: kept, read again by keys of their account, and forgotten.

-- Keeps a response, once. Where its account has no room for it, the oldest of it go; what is larger than all of the room is not kept.
-- Items: {account_id, request_id, input, response, account_bytes_max}, and of a chat {kind: 'chat', model,
-- metadata}.
create function api.keep_response(items jsonb) returns setof jsonb language sql as $$ select keep_response(i) from jsonb_array_elements(items) as i $$;

-- Those of these requests that are there, to a key of their account. Items: {key_hash, address, knows_suspension, request_ids, with_input, kind}.
create function api.read_responses(items jsonb) returns setof jsonb language sql as $$ select read_responses(i) from jsonb_array_elements(items) as i $$;

-- Takes one away; one in the background ends with it. Items: {key_hash, address, knows_suspension, request_id, kind}.
create function api.delete_response(items jsonb) returns setof jsonb language sql as $$ select delete_response(i) from locking_askers(items) as i $$;

-- After their thirty days nothing of them is left. Items: {count_max}.
create function api.forget_responses(items jsonb) returns setof jsonb language sql as $$ select forget_responses(i) from jsonb_array_elements(items) as i $$;

-- Chats of the asker's account. Items: {key_hash, address, knows_suspension, limit, after, order, model, metadata: those that have all of it}.
create function api.list_chats(items jsonb) returns setof jsonb language sql as $$ select list_chats(i) from jsonb_array_elements(items) as i $$;

-- Gives a chat other metadata. Items: {key_hash, address, knows_suspension, request_id, metadata}.
create function api.update_chat(items jsonb) returns setof jsonb language sql as $$ select update_chat(i) from jsonb_array_elements(items) as i $$;
