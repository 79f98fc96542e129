-- Jobs. Whoever locks accounts as well locks them before the jobs. An attempt is a request of the ledger's own: what it holds or was
-- charged is given back where it is lost, and the next attempt is admitted anew.

create function ledger.job_lease() returns interval language sql immutable as $$ select interval '30 seconds' $$;
create function ledger.job_attempts_max() returns int language sql immutable as $$ select 5 $$;
create function ledger.open_jobs_max() returns int language sql immutable as $$ select 1000 $$; -- of an account's own responses

-- The items, once the accounts of their jobs are locked.
create function ledger.locking_jobs(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_accounts(array(
    select account_id from jobs where id in (select (i ->> 'job_id')::uuid from jsonb_array_elements(items) as i)));
  return query select jsonb_array_elements(items);
end $$;

create function ledger.create_job(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := coalesce(asker_refusal(asker, item, 'generate'), job_refusal(asker, item));
  known jobs;
begin
  select * into known from jobs where id = (item ->> 'job_id')::uuid;
  if known.id is not null then
    return jsonb_build_object('decision', case when known.account_id = asker.account_id then 'created' else 'closed' end);
  elsif item ->> 'kind' = 'batch' and not may_begin_line((item ->> 'owner')::bigint, (item ->> 'job_id')::uuid) then
    return '{"decision": "closed"}';
  elsif refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  insert into jobs (id, account_id, key_id, kind, owner, model, admission, address, request, input, head, expires_at)
  values (
    (item ->> 'job_id')::uuid, asker.account_id, asker.id, item ->> 'kind', coalesce(item ->> 'owner', ''), item ->> 'model',
    item -> 'admission', (item ->> 'address')::inet, decode(item ->> 'request', 'base64'), decode(item ->> 'input', 'base64'),
    decode(item ->> 'head', 'base64'), clock_timestamp() + (item ->> 'window_s')::int * interval '1 second');
  return '{"decision": "created"}';
end $$;

-- Why a job is not taken on, or null. What it will cost is held only when it begins; that there is so much now is asked all the same.
create function ledger.job_refusal(asker keys, item jsonb) returns text language plpgsql stable as $$
declare
  asked jsonb := item -> 'admission';
  price prices := price_at(
    item ->> 'model', asker.account_id, clock_timestamp(), coalesce(asked ->> 'service_tier', 'default'));
  cost numeric := cost_nanousd(
    price, (asked ->> 'prompt_tokens_max')::bigint, 0, (asked ->> 'request_output_tokens_max')::bigint);
begin
  return case
    when item ->> 'model' <> all (asker.models) and coalesce(asked ->> 'alias' <> all (asker.models), true) then 'model_not_allowed'
    when price.version is null then case asked ->> 'service_tier' when 'flex' then 'no_flex_price' else 'no_price' end
    when (select debited_nanousd + pending_nanousd + cost > credited_nanousd::numeric + overdraft_nanousd
      from accounts where id = asker.account_id) then 'insufficient_quota'
    when item ->> 'kind' = 'response' and (
      select count(*) >= open_jobs_max()
        or coalesce(sum(octet_length(request) + octet_length(input)), 0) + octet_length(item ->> 'request') + octet_length(item ->> 'input')
          > (item ->> 'account_bytes_max')::bigint
      from jobs where account_id = asker.account_id and kind = 'response' and state in ('queued', 'running')) then 'too_many_jobs'
  end;
end $$;

-- Whether a key is the node's that is said to speak.
create function ledger.speaks(item jsonb) returns boolean language sql stable as $$
  select exists (
    select from registered_nodes where id = item ->> 'node_id'
      and (key = item ->> 'key' or old_key = item ->> 'key' and clock_timestamp() < old_key_until))
$$;

-- Whether a node that verifies answers in these languages can take a job.
create function ledger.can_take(job jobs, verifies text[]) returns boolean language sql immutable as $$
  select job.admission ->> 'verify' is null or job.admission ->> 'verify' = any (verifies)
$$;

-- Jobs of a model that wait, for a node that verifies in these languages: of each account the first, and first that of who has the fewest
-- running.
create function ledger.next_jobs(wanted text, verifies text[]) returns setof uuid language sql volatile as $$
  with recursive owners as (
    (select account_id from jobs where model = wanted and state = 'queued' order by account_id limit 1)
    union all
    select (select j.account_id from jobs j where j.model = wanted and state = 'queued' and j.account_id > o.account_id
      order by j.account_id limit 1)
    from owners o where o.account_id is not null)
  select id from owners o
  join lateral (select count(*) as running from jobs r where r.account_id = o.account_id and state = 'running') as busy on true
  join lateral (
    select id, due_at from jobs j
    where j.model = wanted and j.account_id = o.account_id and state = 'queued' and due_at <= clock_timestamp() and expires_at > clock_timestamp()
      and can_take(j, verifies)
    order by due_at limit 3) as first on true
  order by running, due_at
$$;

create function ledger.take_job(item jsonb) returns jsonb language plpgsql as $$
declare
  candidate uuid;
  job jobs;
begin
  if not speaks(item) then
    return '{"decision": "unknown_node_key"}';
  elsif abs(skew_ms(item, clock_timestamp())) > report_age_ms_max() then
    return '{"decision": "stale_report"}';
  end if;
  select * into job from jobs where take_id = (item ->> 'take_id')::uuid;
  if job.id is not null then
    return case when job.state = 'running' then taken_job(job) else '{"decision": "none"}' end;
  end if;
  for candidate in
    select next_jobs(served, verifies) from registered_nodes n, served_by(n.model, adapters) as served
    where n.id = item ->> 'node_id' and drained_at is null
  loop
    select * into job from jobs where id = candidate and state = 'queued' for update skip locked;
    continue when job.id is null;
    update jobs set
      state = 'running', attempts = attempts + 1, take_id = (item ->> 'take_id')::uuid, node_id = item ->> 'node_id',
      leased_until = clock_timestamp() + job_lease(),
      -- What was refused or lost before keeps its id, and this is another request.
      request_id = case when request_id is null then id else gen_random_uuid() end
    where id = job.id returning * into job;
    return taken_job(job);
  end loop;
  return '{"decision": "none"}';
end $$;

create function ledger.taken_job(job jobs) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'taken', 'job_id', job.id, 'request_id', job.request_id, 'account_id', job.account_id::text, 'kind', job.kind,
    'key_hash', (select encode(hash, 'hex') from keys where id = job.key_id), 'address', host(job.address), 'model', job.model,
    'admission', job.admission, 'request', encode(job.request, 'base64'), 'chunk_count', job.chunk_count,
    'event_count', job.event_count, 'stored_length', job.stored_length, 'stored_sha256', job.stored_sha256)
$$;

-- The job that a node speaks of, locked, where this attempt of it is still that node's; else null.
create function ledger.attempted_job(item jsonb) returns jobs language plpgsql as $$
declare
  job jobs;
begin
  select * into job from jobs
  where id = (item ->> 'job_id')::uuid and request_id = (item ->> 'request_id')::uuid and state = 'running'
    and node_id = item ->> 'node_id' and speaks(item) for update;
  return case when job.id is not null then job end;
end $$;

create function ledger.keep_job_chunk(item jsonb) returns jsonb language plpgsql as $$
declare
  job jobs := attempted_job(item);
  number int := (item ->> 'number')::int;
begin
  if job.id is null or number > job.chunk_count then
    return '{"decision": "lost"}';
  elsif number = job.chunk_count then -- one of before was kept, and its answer lost
    insert into job_chunks (job_id, number, event_count, text)
    values (job.id, number, (item ->> 'event_count')::int, decode(item ->> 'text', 'base64'));
    update jobs set
      chunk_count = number + 1, event_count = (item ->> 'event_count')::int, stored_length = (item ->> 'length')::bigint,
      stored_sha256 = item ->> 'sha256', seen_tokens = coalesce((item ->> 'tokens')::bigint, seen_tokens),
      leased_until = clock_timestamp() + job_lease()
    where id = job.id;
  end if;
  return '{"decision": "kept"}';
end $$;

-- Gives back what was charged for the part of an answer that was cancelled before it was stored. Expects its account to be locked.
create function ledger.refund_unseen(job jobs, seen_tokens bigint) returns void language plpgsql as $$
declare
  used usage;
  unseen_nanousd bigint;
begin
  select u.* into used from usage u join reservations r on r.request_id = u.request_id and r.settled_at = u.settled_at
  where u.request_id = job.request_id;
  select used.cost_nanousd - case when seen_tokens = 0 then 0
    else least(used.cost_nanousd, cost_nanousd(p, used.prompt_tokens, used.cached_tokens, least(seen_tokens, used.completion_tokens))) end
  into unseen_nanousd
  from reservations r join prices p on p.model = r.model and p.version = r.price_version where r.request_id = job.request_id;
  if unseen_nanousd > 0 then
    perform refund(jsonb_build_object(
      'account_id', job.account_id, 'request_id', job.request_id, 'amount_nanousd', unseen_nanousd::text,
      'reference', void_reference(job.request_id), 'note', 'it was cancelled'));
  end if;
end $$;

create function ledger.end_job(item jsonb) returns jsonb language plpgsql as $$
declare
  job jobs := attempted_job(item);
begin
  if job.id is null or item ? 'chunk' and keep_job_chunk(item || (item -> 'chunk')) ->> 'decision' = 'lost' then
    perform refund_unseen(j, (item ->> 'delivered_tokens')::bigint) from jobs j
    where id = (item ->> 'job_id')::uuid and request_id = (item ->> 'request_id')::uuid and j.state = 'cancelled' and speaks(item);
    update jobs set leased_until = null
    where id = (item ->> 'job_id')::uuid and request_id = (item ->> 'request_id')::uuid and state = 'cancelled' and speaks(item);
    return '{"decision": "lost"}';
  end if;
  job.usage := item -> 'usage';
  job.status_code := (item ->> 'status_code')::int;
  job.result := decode(item ->> 'result', 'base64');
  if job.kind = 'response' and keep_response(jsonb_build_object(
    'account_id', job.account_id, 'request_id', job.id, 'input', encode(job.input, 'base64'), 'response', item ->> 'result',
    'account_bytes_max', item -> 'account_bytes_max')) ->> 'decision' = 'kept' then
    job.result := null;
  end if;
  perform close_job(job, item ->> 'state');
  return '{"decision": "ended"}';
end $$;

-- A job that is locked has ended; what only a run needs is gone, and whoever it is of is told.
create function ledger.close_job(job jobs, state_after text) returns void language plpgsql as $$
begin
  update jobs set
    state = state_after, ended_at = clock_timestamp(), request = null, address = null, leased_until = null,
    -- An answer is stored with what it was made from; where there is none, this is all there is.
    input = case when state_after in ('failed', 'cancelled') then job.input end,
    status_code = job.status_code, error = job.error, usage = job.usage, result = job.result
  where id = job.id returning * into job;
  perform job_ended(job);
end $$;

-- Tells whoever a job is of that it has ended, in the commit of its end. A kind of owner has its row here.
create function ledger.job_ended(job jobs) returns void language plpgsql as $$
begin
  if job.kind = 'batch' then
    perform end_line(job);
  elsif job.kind = 'response' then
    perform emit(job.account_id, 'response.' || job.state, jsonb_build_object('id', 'resp_' || replace(job.id::text, '-', '')));
  end if;
end $$;

-- Gives back what an attempt holds, or was charged. One that is not there yet cannot be made any more. Expects its account to be locked.
create function ledger.give_attempt_back(job jobs) returns void language plpgsql as $$
declare
  held reservations;
begin
  select * into held from reservations where request_id = job.request_id;
  if held.request_id is null then
    insert into reservations
      (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at)
    select job.request_id, job.account_id, job.key_id, job.model, version, 0, 1, 'voided', clock_timestamp(), clock_timestamp()
    from price_at(job.model, job.account_id, clock_timestamp()) as price where version is not null;
  elsif held.state = 'pending' then
    perform void_held(held);
  elsif held.settled_at is not null then
    perform refund(jsonb_build_object(
      'account_id', held.account_id, 'request_id', held.request_id, 'reference', void_reference(held.request_id),
      'note', 'its answer was lost'));
  end if;
end $$;

create function ledger.return_job(item jsonb) returns jsonb language plpgsql as $$
declare
  job jobs := attempted_job(item);
begin
  if job.id is null then
    return '{"decision": "lost"}';
  end if;
  job.error := nullif(item -> 'error', 'null');
  job.status_code := (item ->> 'status_code')::int;
  job.attempts := job.attempts - case when item -> 'counts' = 'true' then 0 else 1 end;
  perform offer_again(job, (item ->> 'delay_ms')::int);
  return '{"decision": "returned"}';
end $$;

-- Takes an attempt back. The job waits for another, where it may have one and nothing is against it. Expects account and job to be locked.
create function ledger.offer_again(job jobs, delay_ms int) returns void language plpgsql as $$
begin
  perform give_attempt_back(job);
  if job.error is null and job.attempts >= job_attempts_max() then
    job.error := '{"message": "It was begun several times and never finished.", "type": "server_error", "param": null, "code": "internal_error"}';
    job.status_code := 500;
  end if;
  if job.error is not null then
    perform close_job(job, 'failed');
    return;
  end if;
  update jobs set
    state = 'queued', attempts = job.attempts, node_id = null, take_id = null, leased_until = null,
    due_at = clock_timestamp() + delay_ms * interval '1 millisecond'
  where id = job.id;
end $$;

-- Whether the process that a job is leased to has been heard since the lease ended. It does not run the job: what it was told of it never
-- arrived, or nobody could be told of its end. That says nothing against the job, as the end of its process does.
create function ledger.is_process_alive(job jobs) returns boolean language sql stable as $$
  select job.take_id is not null
    and exists (select from registered_nodes where id = job.node_id and last_seen_at > job.leased_until)
$$;

-- Offers what nodes have lost again: those that were not heard of for the time of a lease. Returns how many.
create function ledger.offer_lost_jobs(count_max int) returns bigint language plpgsql as $$
declare
  owners bigint[] := array(
    select distinct account_id from (
      select account_id from jobs where state = 'running' and leased_until < clock_timestamp() order by leased_until limit count_max) as lost);
  job jobs;
  offered bigint := 0;
begin
  owners := free_accounts(owners);
  for job in
    select * from jobs
    where state = 'running' and leased_until < clock_timestamp() and account_id = any (owners)
    order by leased_until limit count_max for update skip locked
  loop
    job.attempts := job.attempts - case when is_process_alive(job) then 1 else 0 end;
    perform offer_again(job, 0);
    offered := offered + 1;
  end loop;
  return offered;
end $$;

-- Jobs that were cancelled while they ran, and of whose end no node told in the time of a lease: one that was finished nevertheless, and is
-- charged whole, costs what was stored of it. Returns how many were looked at.
create function ledger.refund_untold_jobs(count_max int) returns bigint language plpgsql as $$
declare
  owners bigint[] := free_accounts(array(
    select distinct account_id from (
      select account_id from jobs where state = 'cancelled' and leased_until < clock_timestamp() order by leased_until limit count_max) as untold));
  job jobs;
  is_open boolean;
  untold bigint := 0;
begin
  for job in
    select * from jobs
    where state = 'cancelled' and leased_until < clock_timestamp() and account_id = any (owners)
    order by leased_until limit count_max for update skip locked
  loop
    is_open := exists (select from reservations where request_id = job.request_id and state = 'pending'); -- its node may still report it
    perform refund_unseen(job, job.seen_tokens)
    from reservations r join usage u on u.request_id = r.request_id and u.settled_at = r.settled_at
    where r.request_id = job.request_id and u.outcome in ('stop', 'length');
    update jobs set leased_until = case when is_open then clock_timestamp() + job_lease() end where id = job.id;
    untold := untold + 1;
  end loop;
  return untold;
end $$;

-- How many jobs a node that was heard may take now, and that those it runs are still its. What another process of it ran is lost.
create function ledger.jobs_for(known registered_nodes, said jsonb) returns int language plpgsql as $$
begin
  update jobs set
    leased_until = clock_timestamp() + case when known.boot_id = (said ->> 'boot_id')::uuid then job_lease() else - interval '1 microsecond' end,
    take_id = case when known.boot_id = (said ->> 'boot_id')::uuid then take_id end -- it ended with the process that it is of
  where id = any (array(
    select id from jobs
    where state = 'running' and node_id = known.id and leased_until < clock_timestamp() + job_lease() / 2
      and request_id = any (array(select id::uuid from jsonb_array_elements_text(said -> 'running_ids') as named (id)))
      or state = 'running' and node_id = known.id and known.boot_id <> (said ->> 'boot_id')::uuid
    for update skip locked)); -- one that somebody holds has just been heard of
  return (
    select count(*) from (
      select from jobs j
      where model in (select served_by(known.model, known.adapters)) and state = 'queued' and due_at <= clock_timestamp()
        and can_take(j, known.verifies)
      union all
      select from jobs where model in (select served_by(known.model, known.adapters)) and state = 'running' and leased_until < clock_timestamp()
      limit (said ->> 'job_slots')::int) as waiting);
end $$;

-- The job of the asker that is asked about, and why it may not be, or null.
create function ledger.asked_job(item jsonb, out job jobs, out refusal text) language plpgsql as $$
declare
  asker keys := asker_of(item);
begin
  select * into job from jobs
  where id = (item ->> 'job_id')::uuid and account_id = asker.account_id and kind = 'response' and head is not null;
  refusal := coalesce(asker_refusal(asker, item, 'generate'), case when job.id is null then 'not_found' end);
end $$;

create function ledger.job_report(job jobs) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'state', job.state, 'error', job.error, 'event_count', job.event_count, 'chunk_count', job.chunk_count,
    'begun', job.attempts > 0 or job.chunk_count > 0)
$$;

create function ledger.read_job(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_job(item);
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  end if;
  return jsonb_build_object(
    'decision', 'allowed', 'account_id', (asked.job).account_id::text, 'job', job_report(asked.job),
    'head', encode((asked.job).head, 'base64'), 'result', encode((asked.job).result, 'base64'))
    || case when item ? 'with_input' then jsonb_build_object('input', encode((asked.job).input, 'base64')) else '{}' end;
end $$;

create function ledger.follow_job(item jsonb) returns jsonb language plpgsql as $$
declare
  job jobs;
begin
  -- Before the chunks, so that none is missed of a job that has ended.
  select * into job from jobs
  where id = (item ->> 'job_id')::uuid and account_id = (item ->> 'account_id')::bigint and head is not null;
  if job.id is null then
    return '{"decision": "not_found"}';
  end if;
  return jsonb_build_object('decision', 'followed', 'job', job_report(job), 'chunks', coalesce((
    select jsonb_agg(jsonb_build_object('number', number, 'event_count', event_count, 'text', encode(text, 'base64')) order by number)
    from (
      select *, sum(octet_length(text)) over (order by number) - octet_length(text) as before
      from (
        select * from job_chunks
        where job_id = job.id and number >= (item ->> 'after')::int and event_count > (item ->> 'seen')::int
        order by number limit 100) as first) as next
    where before < (item ->> 'bytes_max')::int), '[]'));
end $$;

-- Whoever runs it is told to stop, and charged is what was stored of it.
create function ledger.cancel_job(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_job(item);
  job jobs;
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  end if;
  select * into job from jobs where id = (asked.job).id for update;
  if job.state in ('queued', 'running') then
    if job.state = 'running' then
      perform stop_attempt(job);
    end if;
    perform close_job(job, 'cancelled');
    if job.state = 'running' then
      update jobs set leased_until = clock_timestamp() + job_lease() where id = job.id;
    end if;
    select * into job from jobs where id = job.id;
  end if;
  return jsonb_build_object(
    'decision', 'allowed', 'account_id', job.account_id::text, 'job', job_report(job),
    'head', encode(job.head, 'base64'), 'result', encode(job.result, 'base64'));
end $$;

-- Takes a response in the background away, whether or not it has ended; whether there was one. Expects its account to be locked.
create function ledger.drop_job(payer bigint, wanted uuid) returns boolean language plpgsql as $$
declare
  job jobs;
begin
  select * into job from jobs where id = wanted and account_id = payer and kind = 'response' and head is not null for update;
  delete from job_chunks where job_id = job.id;
  if job.state = 'running' then
    perform stop_attempt(job);
    -- Nothing that was said stays. What it costs is known when its node has told of its end, or is not heard again.
    update jobs set
      state = 'cancelled', ended_at = clock_timestamp(), request = null, input = null, head = null, address = null,
      leased_until = clock_timestamp() + job_lease()
    where id = job.id;
  else
    delete from jobs where id = job.id and not (state = 'cancelled' and leased_until is not null);
    update jobs set input = null, head = null where id = job.id;
  end if;
  return job.id is not null;
end $$;

-- One that has ended on its node is charged whole by now, or will be: what was not stored is given back when the node tells its end.
create function ledger.stop_attempt(job jobs) returns void language plpgsql as $$
begin
  update reservations set stopped_at = clock_timestamp() where request_id = job.request_id and state = 'pending' and stopped_at is null;
  if not exists (select from reservations where request_id = job.request_id) then
    perform give_attempt_back(job);
  end if;
end $$;

create function ledger.expire_jobs(count_max int) returns bigint language plpgsql as $$
declare
  job jobs;
  expired bigint := 0;
begin
  for job in
    select * from jobs where state = 'queued' and expires_at <= clock_timestamp() order by expires_at limit count_max for update skip locked
  loop
    job.error := '{"message": "It could not be begun in its time.", "type": "server_error", "param": null, "code": "job_expired"}';
    job.status_code := 503;
    perform close_job(job, 'failed');
    expired := expired + 1;
  end loop;
  return expired;
end $$;

-- What a stream said is kept for a day after it, and that there was a job for thirty.
create function ledger.forget_jobs(count_max int) returns bigint language plpgsql as $$
declare
  forgotten bigint;
begin
  with old as (
    delete from job_chunks where ctid = any (array(
      select c.ctid from job_chunks c join jobs j on j.id = c.job_id
      where c.created_at <= clock_timestamp() - interval '1 day' and j.ended_at <= clock_timestamp() - interval '1 day'
      order by c.created_at limit count_max))
    returning 1),
  gone as (
    delete from jobs where ctid = any (array(
      select ctid from jobs where ended_at <= clock_timestamp() - interval '30 days' order by ended_at limit count_max))
    returning 1)
  select (select count(*) from old) + (select count(*) from gone) into forgotten;
  return forgotten;
end $$;
