-- Events: what an account is told, written in the commit of its cause, as the bytes that are sent and signed.

create function ledger.event_name(event_id bigint) returns text language sql immutable as $$ select 'evt_' || event_id $$;

-- Writes an event, and a delivery to each endpoint that wants it. Whatever calls it locks nothing of endpoints: it runs where money moves.
create function ledger.emit(owner bigint, emitted text, data jsonb) returns void language plpgsql as $$
declare
  event_id bigint := nextval('outbox_id_seq');
  moment timestamptz := clock_timestamp();
begin
  insert into outbox (id, account_id, type, body, created_at) overriding system value
  values (event_id, owner, emitted, format(
    '{"id":%s,"object":"event","type":%s,"created_at":%s,"data":%s}',
    to_json(event_name(event_id)), to_json(emitted), floor(extract(epoch from moment)), data), moment);
  insert into webhook_deliveries (account_id, endpoint_id, event_id, due_at, created_at)
  select owner, e.id, event_id, moment, moment from webhook_endpoints e
  where account_id = owner and emitted = any (event_types) and disabled_at is null and has_room(e.id);
end $$;

-- What of one endpoint may wait. What happens beyond it is no less an event: the endpoint gets it when it asks for what it missed.
create function ledger.deliveries_max() returns int language sql immutable as $$ select 10000 $$;

create function ledger.has_room(wanted bigint) returns boolean language sql stable as $$
  select count(*) < deliveries_max() from (
    select from webhook_deliveries where endpoint_id = wanted and state = 'pending' limit deliveries_max()) as waiting
$$;

create function ledger.key_notice(key keys) returns jsonb language sql immutable as $$
  select jsonb_build_object(
    'id', key.id::text, 'name', key.name, 'last_four', key.last_four, 'expires_at', iso(key.expires_at), 'rotated_from', key.rotated_from::text)
$$;

-- Tells of keys that end within a week, each end once. A key that was replaced is meant to end. Answers how many.
create function ledger.note_expiring_keys(count_max int) returns int language plpgsql as $$
declare
  key keys;
  told int := 0;
begin
  for key in
    select * from keys k
    where revoked_at is null and expires_at > clock_timestamp() and expires_at < clock_timestamp() + interval '7 days'
      and not exists (select from key_notices n where n.key_id = k.id and n.expires_at = k.expires_at)
      and not exists (select from keys s where s.account_id = k.account_id and s.rotated_from = k.id)
    order by expires_at limit count_max
  loop
    insert into key_notices (key_id, expires_at) values (key.id, key.expires_at) on conflict do nothing;
    if found then
      perform emit(key.account_id, 'key.expiring', key_notice(key));
      told := told + 1;
    end if;
  end loop;
  return told;
end $$;

-- Tells that a cap keeps a request from running, once a month and cap. `quota`: what the request was told of it.
create function ledger.tell_spend_cap(key keys, quota jsonb) returns void language plpgsql as $$
declare
  of_key boolean := quota ->> 'bound' = 'key_cap';
  cap bigint := (quota ->> 'limit_nanousd')::bigint;
begin
  insert into spend_cap_notices (account_id, key_id, month, cap_nanousd)
  values (key.account_id, case when of_key then meter_of(key) else 0 end, this_month(), cap)
  on conflict do nothing;
  if found then
    perform emit(key.account_id, 'spend_cap.reached', jsonb_build_object(
      'id', case when of_key then key.id else key.account_id end::text, 'of', case when of_key then 'key' else 'account' end,
      'month', to_char(this_month(), 'YYYY-MM'), 'monthly_spend_cap_nanousd', cap::text));
  end if;
end $$;

-- Tells of a price whoever it is for, the account that it was agreed with, or all that have endpoints.
create function ledger.announce(price prices) returns void language sql as $$
  select emit(account_id, 'price.announced', jsonb_build_object('id', format('%s/%s', price.model, price.version)) || price_report(price))
  from (
    select price.account_id where price.account_id is not null
    union
    select account_id from webhook_endpoints where price.account_id is null) as told
$$;

-- Forgets what is older than 30 days, and of an account that has very many events the oldest. Answers how many were forgotten.
create function ledger.forget_events(count_max int) returns int language plpgsql as $$
declare
  due bigint[] := array(
    select id from (select id, created_at from outbox order by id limit count_max) as oldest
    where created_at < clock_timestamp() - interval '30 days');
begin
  if cardinality(due) = 0 then
    due := array(
      select id from (
        select account_id from (select account_id from outbox order by id desc limit 10000) as latest
        group by account_id having count(*) > 1000) as busy,
        lateral (
          select id from outbox o where o.account_id = busy.account_id order by id desc offset 100000 limit count_max) as oldest);
  end if;
  delete from webhook_deliveries where event_id = any (due);
  delete from outbox where id = any (due);
  return cardinality(due);
end $$;
