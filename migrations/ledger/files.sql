-- Files of accounts: how one is shown, written and taken away.

create function ledger.files_max() returns int language sql immutable as $$ select 10000 $$; -- of one account
create function ledger.uploads_max() returns int language sql immutable as $$ select 8 $$; -- of one account, at a time

create function ledger.file_report(file files) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', file.id::text, 'purpose', file.purpose, 'filename', file.filename, 'bytes', file.bytes,
    'created_at', iso(file.created_at), 'expires_at', iso(file.expires_at))
$$;

-- Why an account may have no further file, or null.
create function ledger.file_excess(owner bigint, item jsonb) returns text language sql stable as $$
  select case
    when count(*) >= files_max() then 'too_many_files'
    when count(*) filter (where state = 'writing') >= uploads_max() then 'too_many_uploads'
    when coalesce(sum(case state when 'writing' then bytes_max else bytes end), 0) + (item ->> 'bytes_max')::bigint
      > (item ->> 'account_bytes_max')::bigint then 'no_room_for_file'
  end
  from files where account_id = owner and state <> 'deleted' and expires_at > clock_timestamp()
$$;

create function ledger.begin_file(item jsonb) returns jsonb language plpgsql as $$
declare
  asker keys := asker_of(item);
  refusal text := asker_refusal(asker, item, 'generate');
  file files;
begin
  select * into file from files where created_by = (item ->> 'created_by')::uuid and account_id = asker.account_id;
  refusal := coalesce(refusal, case when file.id is null then file_excess(asker.account_id, item) end);
  if refusal is not null then
    return jsonb_build_object('decision', refusal);
  elsif file.id is null then
    insert into files (account_id, created_by, bytes_max, expires_at)
    values (asker.account_id, (item ->> 'created_by')::uuid, (item ->> 'bytes_max')::bigint, clock_timestamp() + interval '6 hours')
    returning * into file;
    perform name_part(file, (item ->> 'part_id')::uuid);
  end if;
  return jsonb_build_object('decision', 'begun', 'account_id', file.account_id::text, 'file_id', file.id::text);
end $$;

create function ledger.name_part(file files, part_id uuid) returns void language sql as $$
  insert into file_parts (id, file_id, account_id) values (part_id, file.id, file.account_id) on conflict do nothing
$$;

-- Adds a part that was named to the end of a file that is written; once, however often it is asked. Answers whether it is there.
create function ledger.add_part(file files, part jsonb) returns boolean language plpgsql as $$
begin
  update file_parts set
    bytes = (part ->> 'bytes')::int, begins_at = (select bytes from files where id = file.id),
    number = (select count(*) from file_parts where file_id = file.id and number is not null)
  where id = (part ->> 'id')::uuid and file_id = file.id and number is null;
  if found then
    update files set bytes = bytes + (part ->> 'bytes')::int where id = file.id;
  end if;
  return exists (select from file_parts where id = (part ->> 'id')::uuid and file_id = file.id);
end $$;

-- The file that is written, locked; null where it is not, or not any more.
create function ledger.file_in_writing(item jsonb) returns files language sql as $$
  select f from files f
  where id = (item ->> 'file_id')::bigint and account_id = (item ->> 'account_id')::bigint and state = 'writing'
    and expires_at > clock_timestamp()
  for update
$$;

create function ledger.write_part(item jsonb) returns jsonb language plpgsql as $$
declare
  file files := file_in_writing(item);
begin
  if file.id is null or not add_part(file, item -> 'part') then
    return '{"decision": "file_closed"}';
  end if;
  perform name_part(file, (item ->> 'next_id')::uuid);
  return '{"decision": "written"}';
end $$;

create function ledger.finish_file(item jsonb) returns jsonb language plpgsql as $$
declare
  file files := file_in_writing(item);
begin
  if file.id is not null and add_part(file, item -> 'part') then
    update files set
      state = 'ready', filename = item ->> 'filename', purpose = item ->> 'purpose',
      expires_at = clock_timestamp() + (item ->> 'expires_after_s')::int * interval '1 second'
    where id = file.id;
  end if;
  select * into file from files
  where id = (item ->> 'file_id')::bigint and account_id = (item ->> 'account_id')::bigint and state = 'ready';
  if file.id is null then
    return '{"decision": "file_closed"}';
  end if;
  return jsonb_build_object('decision', 'finished', 'file', file_report(file));
end $$;

create function ledger.abandon_file(item jsonb) returns jsonb language plpgsql as $$
begin
  update files set state = 'deleted', expires_at = clock_timestamp()
  where id = (item ->> 'file_id')::bigint and account_id = (item ->> 'account_id')::bigint and state = 'writing';
  return '{"decision": "abandoned"}';
end $$;

-- The file that is asked about, and why it may not be, or null. Another account's is as good as missing.
create function ledger.asked_file(item jsonb, out file files, out refusal text) language plpgsql as $$
declare
  asker keys := asker_of(item);
begin
  select * into file from files
  where id = (item ->> 'file_id')::bigint and account_id = asker.account_id and state = 'ready' and expires_at > clock_timestamp();
  refusal := coalesce(asker_refusal(asker, item, 'generate'), case when file.id is null then 'not_found' end);
end $$;

create function ledger.read_file(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record;
begin
  select * into asked from asked_file(item);
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  end if;
  return jsonb_build_object('decision', 'allowed', 'file', file_report(asked.file), 'account_id', (asked.file).account_id::text)
    || case when item -> 'with_parts' = 'true' then jsonb_build_object('parts', parts_of((asked.file).id)) else '{}' end;
end $$;

create function ledger.parts_of(of_file bigint) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', id, 'begins_at', begins_at, 'bytes', bytes) order by number), '[]')
  from file_parts where file_id = of_file and number is not null
$$;

create function ledger.delete_file(item jsonb) returns jsonb language plpgsql as $$
declare
  asked record;
begin
  select * into asked from asked_file(item);
  if asked.refusal is not null then
    return jsonb_build_object('decision', asked.refusal);
  elsif (asked.file).kept_until > clock_timestamp() then
    return '{"decision": "file_in_use"}';
  end if;
  update files set state = 'deleted', expires_at = clock_timestamp() where id = (asked.file).id;
  return '{"decision": "deleted"}';
end $$;

-- Of files that are over; and those that were named and not written in so long that nobody writes them. Files without any go themselves.
create function ledger.due_parts(count_max int) returns jsonb language plpgsql as $$
declare
  gone int;
  due jsonb;
begin
  delete from files f
  where id in (select id from files o where is_over(o) order by expires_at limit count_max)
    and not exists (select from file_parts p where p.file_id = f.id);
  get diagnostics gone = row_count;
  select coalesce(jsonb_agg(id), '[]') into due from (
    select p.id from (select id from files o where is_over(o) order by expires_at limit count_max) as f
    join file_parts p on p.file_id = f.id
    union
    select id from file_parts where number is null and created_at < clock_timestamp() - interval '7 hours'
    limit count_max) as parts;
  return jsonb_build_object('decision', 'due', 'part_ids', due, 'count', gone + jsonb_array_length(due));
end $$;

create function ledger.is_over(file files) returns boolean language sql stable as $$
  select file.expires_at <= clock_timestamp() and coalesce(file.kept_until <= clock_timestamp(), true)
$$;

create function ledger.forget_parts(item jsonb) returns jsonb language plpgsql as $$
declare
  gone int;
begin
  delete from file_parts where id in (select id::uuid from jsonb_array_elements_text(item -> 'part_ids') as named (id));
  get diagnostics gone = row_count;
  return jsonb_build_object('decision', 'forgotten', 'count', gone);
end $$;
