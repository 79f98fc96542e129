-- Jobs: made, taken by nodes, answered in pieces, ended, read and forgotten (ledger/jobs.sql).

-- Makes a job, once. Items: {key_hash, address, knows_suspension, job_id, kind: response | batch, owner, model, admission: {prompt_tokens_max,
-- request_output_tokens_max, choices, metadata, service_tier}, request, input, head, window_s: it has begun by then, account_bytes_max}.
create function api.create_job(items jsonb) returns setof jsonb language sql as $$ select create_job(i) from locking_askers(items) as i $$;

-- Gives a node the job that is its model's next. What is lost of other nodes' is offered again first. Asked again by its take_id it is the
-- same one. Items: {node_id, key, take_id, sent_unix_ms}.
create function api.take_job(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform offer_lost_jobs(10);
  return query select take_job(i) from jsonb_array_elements(items) as i;
end $$;

-- Keeps the next piece of a job's stream. Items: {node_id, key, job_id, request_id, number, event_count, text, length, sha256,
-- tokens: whose text is stored with it}.
create function api.keep_job_chunk(items jsonb) returns setof jsonb language sql as $$ select keep_job_chunk(i) from jsonb_array_elements(items) as i $$;

-- Ends a job with its answer, and the last piece of its stream. Items: {node_id, key, job_id, request_id, chunk, state, status_code, usage,
-- delivered_tokens: before this piece, result, account_bytes_max}.
create function api.end_job(items jsonb) returns setof jsonb language sql as $$ select end_job(i) from locking_jobs(items) as i $$;

-- Takes an attempt back that its node, or the ledger, did not carry out: nothing is charged for it. With an error the job fails, else it
-- is offered again. Items: {node_id, key, job_id, request_id, delay_ms, counts: whether it was an attempt, error, status_code}.
create function api.return_job(items jsonb) returns setof jsonb language sql as $$ select return_job(i) from locking_jobs(items) as i $$;

-- What is known of a job of the asker's. Items: {key_hash, address, knows_suspension, job_id, with_input: true}.
create function api.read_job(items jsonb) returns setof jsonb language sql as $$ select read_job(i) from jsonb_array_elements(items) as i $$;

-- What came to a job's stream after so many chunks and events, and how the job is. Items: {account_id, job_id, after, seen, bytes_max}.
create function api.follow_job(items jsonb) returns setof jsonb language sql as $$ select follow_job(i) from jsonb_array_elements(items) as i $$;

-- Ends a job of the asker's that has not ended. Items: {key_hash, address, knows_suspension, job_id}.
create function api.cancel_job(items jsonb) returns setof jsonb language sql as $$ select cancel_job(i) from locking_askers(items) as i $$;

-- For the cron: what is lost is offered again, what was cancelled and never told of costs what was stored, what was not begun in its time fails, what is over is forgotten. Items: {count_max}.
create function api.tend_jobs(items jsonb) returns setof jsonb language sql as $$
  select answers_of_pass(items, 'tended',
    offer_lost_jobs(sum_of(items, 'count_max')::int) + refund_untold_jobs(sum_of(items, 'count_max')::int) + expire_jobs(sum_of(items, 'count_max')::int) + forget_jobs(sum_of(items, 'count_max')::int))
$$;
