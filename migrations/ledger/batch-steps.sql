-- The steps of a batch. Each is given to one worker at a time by a lease, does a bounded piece, and is noted in one commit: a worker that is
-- cut off has done nothing, and the next one does the same piece again. Jobs that a piece has made already are known by their ids.

create function ledger.batch_lease() returns interval language sql immutable as $$ select interval '45 seconds' $$;
create function ledger.batch_window() returns int language sql immutable as $$ select 200 $$; -- lines of a batch that are jobs at a time
create function ledger.batch_offer() returns int language sql immutable as $$ select 50 $$; -- lines that become jobs in a step
create function ledger.batch_results() returns int language sql immutable as $$ select 100 $$; -- lines that are written in a step
create function ledger.batch_closing() returns int language sql immutable as $$ select 5000 $$; -- lines that are closed in a step

create function ledger.claim_batch(item jsonb) returns jsonb language plpgsql as $$
declare
  batch batches;
  step jsonb;
begin
  for i in 1..20 loop
    select * into batch from batches b
    where is_open(b) and due_at <= clock_timestamp() and coalesce(leased_until < clock_timestamp(), true)
    order by due_at limit 1 for update skip locked;
    exit when batch.id is null;
    batch := expired_batch(batch);
    step := batch_step(batch, item);
    if step is not null then
      update batches set lease = (item ->> 'lease')::uuid, leased_until = clock_timestamp() + batch_lease() where id = batch.id;
      return step || jsonb_build_object(
        'decision', 'claimed', 'batch_id', batch.id::text, 'account_id', batch.account_id::text, 'endpoint', batch.endpoint,
        'parts', parts_of(batch.input_file_id));
    end if;
    update batches set due_at = clock_timestamp() + interval '1 second' where id = batch.id;
  end loop;
  return '{"decision": "none"}';
end $$;

-- A batch whose time is over begins nothing more.
create function ledger.expired_batch(batch batches) returns batches language plpgsql as $$
begin
  if batch.expires_at <= clock_timestamp() and batch.state in ('validating', 'in_progress') then
    update batches set state = 'finalizing', finalizing_at = clock_timestamp() where id = batch.id returning * into batch;
  end if;
  return batch;
end $$;

-- What is to be done for a batch now; null where nothing is. What takes no worker is done here.
create function ledger.batch_step(batch batches, item jsonb) returns jsonb language plpgsql as $$
declare
  has_waiting boolean := exists (select from batch_lines where batch_id = batch.id and state = 'waiting');
  offered int := (select count(*) from batch_lines where batch_id = batch.id and state = 'offered');
  done int := (select count(*) from (select from batch_lines where batch_id = batch.id and state = 'done' limit batch_results()) as l);
  step jsonb;
begin
  if batch.state = 'validating' then
    return jsonb_build_object('step', 'validate', 'read_bytes', batch.read_bytes, 'read_lines', batch.read_lines, 'model', batch.model)
      || batch_asker(batch);
  elsif batch.in_progress_at is null then -- it was never checked to its end, and nothing of it began
    perform end_batch(batch, case when batch.cancelling_at is null then 'expired' else 'cancelled' end);
    return null;
  elsif batch.state <> 'in_progress' then
    perform close_lines(batch);
    has_waiting := exists (select from batch_lines where batch_id = batch.id and state = 'waiting');
    done := (select count(*) from (select from batch_lines where batch_id = batch.id and state = 'done' limit batch_results()) as l);
    offered := (select count(*) from batch_lines where batch_id = batch.id and state = 'offered');
  end if;
  if done >= batch_results() or (done > 0 and offered = 0 and not (has_waiting and batch.state = 'in_progress')) then
    return results_step(batch, item);
  elsif has_waiting and batch.state = 'in_progress' and offered <= batch_window() - batch_offer() then
    return offer_step(batch);
  elsif not has_waiting and offered = 0 and done = 0 then
    perform end_batch(batch, case
      when batch.cancelling_at is not null then 'cancelled'
      when batch.finalizing_at is not null then 'expired'
      else 'completed'
    end);
  end if;
  return null;
end $$;

-- Under whose rights its lines are checked and run.
create function ledger.batch_asker(batch batches) returns jsonb language sql stable as $$
  select jsonb_build_object('key_hash', (select encode(hash, 'hex') from keys where id = batch.key_id), 'address', host(batch.address))
$$;

create function ledger.offer_step(batch batches) returns jsonb language sql stable as $$
  select jsonb_build_object('step', 'offer',
    'is_flex', (select version is not null from price_at(batch.model, batch.account_id, clock_timestamp(), 'flex')),
    'window_s', greatest(1, extract(epoch from batch.expires_at - clock_timestamp())::int),
    'lines', coalesce(jsonb_agg(jsonb_build_object(
      'number', number, 'begins_at', begins_at, 'bytes', bytes, 'job_id', job_id) order by number), '[]')) || batch_asker(batch)
  from (select * from batch_lines where batch_id = batch.id and state = 'waiting' order by number limit batch_offer()) as l
$$;

-- Lines that ended, as many as go into a part of a file; and the parts, which are named before they are written.
create function ledger.results_step(batch batches, item jsonb) returns jsonb language plpgsql as $$
begin
  if batch.output_file_id is null then
    update batches set output_file_id = result_file(batch, 'output'), error_file_id = result_file(batch, 'error')
    where id = batch.id returning * into batch;
  end if;
  perform name_part((select f from files f where id = batch.output_file_id), (item ->> 'output_part_id')::uuid);
  perform name_part((select f from files f where id = batch.error_file_id), (item ->> 'error_part_id')::uuid);
  return jsonb_build_object('step', 'write', 'lines', (
    select jsonb_agg(jsonb_build_object(
      'number', number, 'begins_at', begins_at, 'bytes', bytes, 'job_id', job_id, 'refusal', coalesce(refusal, job_refused),
      'request_id', request_id, 'status_code', status_code, 'result', encode(result, 'base64')) order by number)
    from (
      select l.*, j.request_id, j.status_code, j.result,
        case when j.result is null then jsonb_build_object('status_code', j.status_code, 'error', j.error) end as job_refused,
        sum(coalesce(octet_length(j.result), 0)) over (order by number) - coalesce(octet_length(j.result), 0) as before
      from batch_lines l left join jobs j on j.id = l.job_id
      where l.batch_id = batch.id and l.state = 'done' order by number limit batch_results()) as l
    where before < 1 << 20));
end $$;

create function ledger.result_file(batch batches, kind text) returns bigint language sql as $$
  insert into files (account_id, created_by, purpose, filename, bytes_max, expires_at)
  values (
    batch.account_id, gen_random_uuid(), 'batch_output', format('batch_%s_%s.jsonl', batch.id, kind), 0,
    batch.expires_at + interval '30 days')
  returning id
$$;

-- Whether a line still waits for a job, and its batch begins some. Until the job is there the batch does not end, nor is it cancelled: a worker
-- that was given the line may be slow, and the line closed or written since.
create function ledger.may_begin_line(owner bigint, job uuid) returns boolean language plpgsql as $$
begin
  perform 1 from batches where id = owner and state = 'in_progress' for share;
  return found and exists (select from batch_lines where batch_id = owner and job_id = job and state = 'waiting');
end $$;

-- Lines that are not begun are not begun any more; those that run are finished. What a worker that is cut off made a job of is begun.
create function ledger.close_lines(batch batches) returns void language plpgsql as $$
declare
  why text := case when batch.cancelling_at is null then 'expired' else 'cancelled' end;
  job jobs;
begin
  update batch_lines set state = 'offered'
  where batch_id = batch.id and number in (
    select number from (select * from batch_lines where batch_id = batch.id and state = 'waiting' order by number limit batch_offer()) as l
    where exists (select from jobs where id = l.job_id));
  update batch_lines set state = 'done', refusal = closed_line(why)
  where batch_id = batch.id and number in (
    select number from batch_lines where batch_id = batch.id and state = 'waiting' order by number limit batch_closing());
  for job in
    select j.* from batch_lines l join jobs j on j.id = l.job_id
    where l.batch_id = batch.id and l.state = 'offered' and j.state = 'queued' for update of j skip locked
  loop
    update batch_lines set refusal = closed_line(why) where batch_id = batch.id and job_id = job.id;
    perform close_job(job, 'cancelled');
  end loop;
end $$;

create function ledger.closed_line(why text) returns jsonb language sql immutable as $$
  select jsonb_build_object('status_code', null, 'error', jsonb_build_object(
    'code', 'batch_' || why,
    'message', case why
      when 'expired' then 'This request could not be begun before the batch expired.'
      else 'The batch was cancelled before this request was begun.'
    end))
$$;

-- The job of a line has ended, in the commit of its end. When it was the last of those that run, its batch need not wait.
create function ledger.end_line(job jobs) returns void language plpgsql as $$
declare
  of_batch bigint := job.owner::bigint;
begin
  update batch_lines set state = 'done' where job_id = job.id and state in ('waiting', 'offered');
  if not exists (select from batch_lines where batch_id = of_batch and state = 'offered') then
    update batches set due_at = clock_timestamp() where id = of_batch and due_at > clock_timestamp() and lease is null;
  end if;
end $$;

-- The batch of a step, locked, where the step is still whose it was; else null.
create function ledger.leased_batch(item jsonb) returns batches language sql as $$
  select b from batches b where id = (item ->> 'batch_id')::bigint and lease = (item ->> 'lease')::uuid for update
$$;

create function ledger.release_batch(batch batches, wait_ms int default 0) returns void language sql as $$
  update batches set lease = null, leased_until = null, due_at = clock_timestamp() + wait_ms * interval '1 millisecond' where id = batch.id
$$;

create function ledger.note_lines(item jsonb) returns jsonb language plpgsql as $$
declare
  batch batches := leased_batch(item);
  faults jsonb;
begin
  if batch.id is null then
    return '{"decision": "lost"}';
  end if;
  insert into batch_lines (batch_id, number, begins_at, bytes, custom_id_hash)
  select batch.id, (l ->> 'number')::int, (l ->> 'begins_at')::bigint, (l ->> 'bytes')::int, decode(l ->> 'custom_id_hash', 'hex')
  from jsonb_array_elements(item -> 'lines') as l on conflict do nothing;
  faults := batch.errors || (item -> 'errors') || repeated_lines(batch, item -> 'lines') || case
    when (item ->> 'read_lines')::int > batch_lines_max() then batch_error(null, 'too_many_requests', format(
      'A batch has at most %s requests.', batch_lines_max()))
    when item -> 'is_end' = 'true' and (item ->> 'read_lines')::int = 0 and item -> 'errors' = '[]' and batch.errors = '[]' then
      batch_error(null, 'empty_file', 'The file has no requests.')
    else '[]'
  end;
  update batches set
    read_bytes = (item ->> 'read_bytes')::bigint, read_lines = (item ->> 'read_lines')::int, model = item ->> 'model', has_lines = true,
    errors = (select coalesce(jsonb_agg(e order by at), '[]') from jsonb_array_elements(faults) with ordinality as t (e, at) where at <= batch_errors_max())
  where id = batch.id returning * into batch;
  perform release_batch(batch);
  if jsonb_array_length(faults) >= batch_errors_max() or (item -> 'is_end' = 'true' and faults <> '[]')
    or batch.read_lines > batch_lines_max() then
    perform end_batch(batch, 'failed');
  elsif item -> 'is_end' = 'true' then
    update batches set state = 'in_progress', in_progress_at = clock_timestamp() where id = batch.id;
  end if;
  return '{"decision": "noted"}';
end $$;

-- Lines that have the custom_id of another.
create function ledger.repeated_lines(batch batches, lines jsonb) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(error order by number), '[]') from (
    select (l ->> 'number')::int as number, batch_error((l ->> 'number')::int, 'duplicate_custom_id', 'The custom_id is that of an earlier line.') -> 0 as error
    from jsonb_array_elements(lines) as l
    where not exists (select from batch_lines b where b.batch_id = batch.id and b.number = (l ->> 'number')::int)) as repeated
$$;

create function ledger.batch_error(line int, code text, message text) returns jsonb language sql immutable as $$
  select jsonb_build_array(jsonb_build_object('line', line, 'code', code, 'message', message, 'param', case when line is not null then 'custom_id' end))
$$;

create function ledger.note_offers(item jsonb) returns jsonb language plpgsql as $$
declare
  batch batches := leased_batch(item);
begin
  if batch.id is null then
    return '{"decision": "lost"}';
  end if;
  update batch_lines set state = 'offered'
  where batch_id = batch.id and state = 'waiting' and number in (select n::int from jsonb_array_elements_text(item -> 'offered') as named (n));
  update batch_lines l set state = 'done', refusal = r -> 'refusal'
  from jsonb_array_elements(item -> 'refused') as r
  where l.batch_id = batch.id and l.state = 'waiting' and l.number = (r ->> 'number')::int;
  perform release_batch(batch, (item ->> 'wait_ms')::int);
  return '{"decision": "noted"}';
end $$;

create function ledger.note_results(item jsonb) returns jsonb language plpgsql as $$
declare
  batch batches := leased_batch(item);
  numbers int[] := array(select n::int from jsonb_array_elements_text(item -> 'numbers') as named (n));
begin
  if batch.id is null then
    return '{"decision": "lost"}';
  end if;
  perform add_result(batch.output_file_id, item -> 'output');
  perform add_result(batch.error_file_id, item -> 'error');
  update batches b set
    completed_lines = b.completed_lines + sums.completed, failed_lines = b.failed_lines + sums.total - sums.completed,
    prompt_tokens = b.prompt_tokens + sums.prompt, cached_tokens = b.cached_tokens + sums.cached,
    completion_tokens = b.completion_tokens + sums.completion
  from (
    select count(*) as total, count(*) filter (where j.state in ('completed', 'incomplete')) as completed,
      coalesce(sum((j.usage ->> 'prompt_tokens')::bigint), 0) as prompt, coalesce(sum((j.usage ->> 'cached_tokens')::bigint), 0) as cached,
      coalesce(sum((j.usage ->> 'completion_tokens')::bigint), 0) as completion
    from batch_lines l left join jobs j on j.id = l.job_id
    where l.batch_id = batch.id and l.number = any (numbers) and l.state = 'done') as sums
  where b.id = batch.id;
  delete from jobs where id in (select job_id from batch_lines where batch_id = batch.id and number = any (numbers) and state = 'done');
  update batch_lines set state = 'written' where batch_id = batch.id and number = any (numbers) and state = 'done';
  perform release_batch(batch);
  return '{"decision": "noted"}';
end $$;

-- A part that is written; one of no bytes was not, and its name is free.
create function ledger.add_result(file_id bigint, part jsonb) returns void language plpgsql as $$
begin
  if (part ->> 'bytes')::int > 0 then
    perform add_part((select f from files f where id = file_id), part);
  else
    delete from file_parts where id = (part ->> 'id')::uuid and number is null;
  end if;
end $$;
