-- Who runs the service, and the keys they come with.

-- Items: {key_hash}. The gateway lets in who is allowed, and names them with each thing they change ({by}).
create function api.identify_operator(items jsonb) returns setof jsonb language sql as $$ select identify_operator(i) from jsonb_array_elements(items) as i $$;

-- Items of these: {operator: true, by: {operator_id, key_id, name, address, request_id}}, and what is wanted.
create function api.create_operator(items jsonb) returns setof jsonb language sql as $$ select create_operator(i) from jsonb_array_elements(items) as i $$;
create function api.update_operator(items jsonb) returns setof jsonb language sql as $$ select update_operator(i) from jsonb_array_elements(items) as i $$;
create function api.end_operator(items jsonb) returns setof jsonb language sql as $$ select end_operator(i) from jsonb_array_elements(items) as i $$;
create function api.create_operator_key(items jsonb) returns setof jsonb language sql as $$ select create_operator_key(i) from jsonb_array_elements(items) as i $$;
create function api.rotate_operator_key(items jsonb) returns setof jsonb language sql as $$ select rotate_operator_key(i) from jsonb_array_elements(items) as i $$;
create function api.revoke_operator_key(items jsonb) returns setof jsonb language sql as $$ select revoke_operator_key(i) from jsonb_array_elements(items) as i $$;

-- Whether keys are known, by their hashes alone: for a gateway that got too many from one address that were not. Items: {key_hash}.
create function api.find_key(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', case when exists (
    select from keys where hash = decode(i ->> 'key_hash', 'hex') and revoked_at is null) then 'known' else 'unknown' end)
  from jsonb_array_elements(items) as i
$$;
