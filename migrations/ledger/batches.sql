-- Batches: how one is made, shown, cancelled, and ended.

create function ledger.batches_max() returns int language sql immutable as $$ select 100 $$; -- of one account, that have not ended
create function ledger.batch_lines_max() returns int language sql immutable as $$ select 50000 $$;
create function ledger.batch_errors_max() returns int language sql immutable as $$ select 100 $$;

create function ledger.is_open(batch batches) returns boolean language sql immutable as $$
  select batch.state in ('validating', 'in_progress', 'finalizing', 'cancelling')
$$;

-- How many of its lines have ended so far, and how.
create function ledger.batch_counts(batch batches) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'total', batch.read_lines,
    'completed', batch.completed_lines + count(*) filter (where j.state in ('completed', 'incomplete')),
    'failed', batch.failed_lines + count(*) filter (where coalesce(j.state not in ('completed', 'incomplete'), true)))
  from batch_lines l left join jobs j on j.id = l.job_id
  where l.batch_id = batch.id and l.state = 'done'
$$;

create function ledger.batch_report(batch batches) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', batch.id::text, 'endpoint', batch.endpoint, 'model', batch.model, 'errors', batch.errors,
    'input_file_id', batch.input_file_id::text, 'state', batch.state, 'metadata', batch.metadata,
    'output_file_id', result_file_of(batch, batch.output_file_id), 'error_file_id', result_file_of(batch, batch.error_file_id),
    'request_counts', batch_counts(batch),
    'usage', jsonb_build_object(
      'prompt_tokens', batch.prompt_tokens, 'cached_tokens', batch.cached_tokens, 'completion_tokens', batch.completion_tokens))
    || batch_moments(batch)
$$;

-- A file that is written; one in which nothing is, is none.
create function ledger.result_file_of(batch batches, file_id bigint) returns text language sql stable as $$
  select f.id::text from files f where f.id = file_id and f.bytes > 0 and not is_open(batch)
$$;

create function ledger.batch_moments(batch batches) returns jsonb language sql immutable as $$
  select jsonb_build_object(
    'created_at', iso(batch.created_at), 'in_progress_at', iso(batch.in_progress_at), 'expires_at', iso(batch.expires_at),
    'finalizing_at', iso(batch.finalizing_at), 'completed_at', iso(batch.completed_at), 'failed_at', iso(batch.failed_at),
    'expired_at', iso(batch.expired_at), 'cancelling_at', iso(batch.cancelling_at), 'cancelled_at', iso(batch.cancelled_at))
$$;

create function ledger.create_batch(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
  batch batches;
begin
  select * into batch from batches where created_by = (item ->> 'created_by')::uuid and account_id = asker.account_id;
  refusal := coalesce(refusal, case when batch.id is null then batch_refusal(asker.account_id, item) end);
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  elsif batch.id is null then
    -- The file stays until the batch has ended.
    update files set kept_until = clock_timestamp() + interval '7 days' where id = (item ->> 'input_file_id')::bigint;
    insert into batches
      (account_id, key_id, address, created_by, endpoint, input_file_id, metadata, output_expires_after_s, expires_at)
    values (
      asker.account_id, asker.id, (item ->> 'address')::inet, (item ->> 'created_by')::uuid, item ->> 'endpoint',
      (item ->> 'input_file_id')::bigint, nullif(item -> 'metadata', 'null'), (item ->> 'output_expires_after_s')::int,
      clock_timestamp() + interval '24 hours')
    returning * into batch;
  end if;
  return jsonb_build_object('decision', 'created', 'batch', batch_report(batch));
end $$;

create function ledger.batch_refusal(owner bigint, item jsonb) returns text language sql stable as $$
  select case
    when not exists (
      select from files where id = (item ->> 'input_file_id')::bigint and account_id = owner and state = 'ready'
        and purpose = 'batch' and expires_at > clock_timestamp()) then 'unknown_file'
    when (select count(*) from batches b where account_id = owner and is_open(b)) >= batches_max() then 'too_many_batches'
  end
$$;

-- The batch that is asked about, and why it may not be, or null. Another account's is as good as missing.
create function ledger.asked_batch(item jsonb, out batch batches, out refusal text) language plpgsql as $$
declare
  asker keys := asker_of(item);
begin
  select * into batch from batches where id = (item ->> 'batch_id')::bigint and account_id = asker.account_id;
  refusal := coalesce(asker_refusal(asker, item, 'generate'), case when batch.id is null then 'not_found' end);
end $$;

create function ledger.read_batch(item jsonb) returns jsonb language sql as $$
  select case
    when refusal is null then jsonb_build_object('decision', 'allowed', 'batch', batch_report(batch))
    else jsonb_build_object('decision', refusal)
  end
  from asked_batch(item)
$$;

create function ledger.list_batches(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
begin
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  end if;
  return jsonb_build_object('decision', 'allowed', 'batches', coalesce((
    select jsonb_agg(batch_report(b) order by b.id desc) from (
      select * from batches
      where account_id = asker.account_id and id < coalesce((item ->> 'after')::bigint, 9223372036854775807)
      order by id desc limit (item ->> 'limit')::int + 1) as b), '[]'));
end $$;

create function ledger.cancel_batch(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record := asked_batch(item);
  batch batches := asked.batch;
begin
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  end if;
  select * into batch from batches where id = batch.id for update;
  if batch.state not in ('validating', 'in_progress', 'cancelling', 'cancelled') then
    return '{"decision": "batch_has_ended"}';
  elsif batch.state in ('validating', 'in_progress') then
    update batches set state = 'cancelling', cancelling_at = clock_timestamp(), due_at = clock_timestamp(), lease = null, leased_until = null
    where id = batch.id returning * into batch;
  end if;
  return jsonb_build_object('decision', 'allowed', 'batch', batch_report(batch));
end $$;

-- Brings a batch that is locked to its end, and tells of it. `ended`: the state that it ends in.
create function ledger.end_batch(batch batches, ended text) returns void language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
begin
  update batches set
    state = ended, lease = null, leased_until = null, address = null,
    completed_at = case ended when 'completed' then moment end, failed_at = case ended when 'failed' then moment end,
    expired_at = case ended when 'expired' then moment end, cancelled_at = case ended when 'cancelled' then moment end
  where id = batch.id;
  update files set
    state = case when bytes > 0 then 'ready' else 'deleted' end,
    expires_at = moment + case when bytes > 0 then batch.output_expires_after_s else 0 end * interval '1 second'
  where id in (batch.output_file_id, batch.error_file_id) and state = 'writing';
  update files set kept_until = null
  where id = batch.input_file_id and not exists (select from batches b where b.input_file_id = files.id and is_open(b));
  perform emit(batch.account_id, 'batch.' || ended, jsonb_build_object('id', 'batch_' || batch.id));
end $$;

create function ledger.forget_batches(count_max int) returns jsonb language plpgsql as $$
declare
  gone int;
  old int;
begin
  delete from batch_lines where ctid = any (array(
    select l.ctid from batches b join batch_lines l on l.batch_id = b.id where b.has_lines and not is_open(b) limit count_max));
  get diagnostics gone = row_count;
  update batches b set has_lines = false
  where has_lines and not is_open(b) and not exists (select from batch_lines l where l.batch_id = b.id);
  delete from batches where id in (
    select id from batches b where created_at < clock_timestamp() - interval '90 days' and not is_open(b) and not has_lines limit count_max);
  get diagnostics old = row_count;
  return jsonb_build_object('decision', 'forgotten', 'count', gone + old);
end $$;
