-- What an account used. Each call decides by the key alone, so another account's id looks like a missing one.

create function api.read_usage(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  held reservations;
begin
  for item in select * from jsonb_array_elements(items) loop
    asker := asker_of(item);
    select * into held from reservations
    where request_id = (item ->> 'request_id')::uuid and (item ? 'operator' or account_id = asker.account_id);
    return next case
      when asker_refusal(asker, item, 'usage') is not null then
        jsonb_build_object('decision', asker_refusal(asker, item, 'usage'))
      when held.request_id is null then jsonb_build_object('decision', 'not_found')
      else jsonb_build_object('decision', 'allowed', 'usage', usage_report(held))
    end;
  end loop;
end $$;

-- The newest first, `limit` at most, those before `after`; one more than asked for tells whether there are more.
create function api.list_usage(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  key keys;
  last_seen reservations;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into key from keys where hash = decode(item ->> 'key_hash', 'hex');
    select * into last_seen from reservations
    where request_id = (item ->> 'after')::uuid and account_id = key.account_id;
    return next case
      when key_refusal(key, 'usage', item) is not null then jsonb_build_object('decision', key_refusal(key, 'usage', item))
      when item ->> 'after' is not null and last_seen.request_id is null then jsonb_build_object('decision', 'not_found')
      else jsonb_build_object('decision', 'allowed', 'usage', (
        select coalesce(jsonb_agg(report order by created_at desc, request_id), '[]') from (
          select usage_report(r) as report, created_at, request_id from reservations r
          where account_id = key.account_id and created_at <= coalesce(last_seen.created_at, 'infinity') and (
            last_seen.request_id is null or created_at < last_seen.created_at
            or (created_at = last_seen.created_at and request_id > last_seen.request_id))
          order by created_at desc, request_id limit (item ->> 'limit')::int + 1) as page))
    end;
  end loop;
end $$;
