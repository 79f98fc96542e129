-- Calls that came with an Idempotency-Key and are no generation: one carries each out, and its result is kept for a day.

-- Claims a call that is no generation for one who carries it out now, under the lease of {lease_ms}. Whoever takes over a claim
-- that nobody brought to its end goes on under the first one's id: what that one did it finds done. `scope` is what the endpoint
-- asks of the key: a result that was kept is shown to none that could not have asked for it.
create function api.claim_request(items jsonb) returns setof jsonb language sql as $$ select claim_request(i) from jsonb_array_elements(items) as i $$;

-- Keeps the result of a run, where the run still holds the key and its account has room for it. Items: {account_id, idempotency,
-- request_id, status, content_type, body, account_bytes_max}.
create function api.keep_result(items jsonb) returns setof jsonb language sql as $$ select keep_result(i) from jsonb_array_elements(items) as i $$;

-- The result that a verdict named, while it is there. Items: {account_id, idempotency, request_id}.
create function api.read_result(items jsonb) returns setof jsonb language sql as $$ select read_result(i) from jsonb_array_elements(items) as i $$;

-- Gives a claim up: a refused call changed nothing and is forgotten ({forget: true}), a failed one may be tried again at once.
create function api.release_request(items jsonb) returns setof jsonb language sql as $$ select release_request(i) from jsonb_array_elements(items) as i $$;

-- After a day nothing of them is left.
create function api.forget_requests(items jsonb) returns setof jsonb language sql as $$ select forget_requests(i) from jsonb_array_elements(items) as i $$;
