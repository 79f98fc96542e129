-- Where an account is written to, and about what: an endpoint of its own kind, with the same deliveries.

create function ledger.notifications_report(owner bigint) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', owner::text, 'email', substr(max(url), 8), 'event_types', coalesce(to_jsonb(max(event_types)), '[]'),
    'disabled_reason', max(disabled_reason))
  from webhook_endpoints where account_id = owner and kind = 'email'
$$;

-- An address that is set again is written to again. Expects the account to be locked.
create function ledger.update_notifications(item jsonb) returns jsonb language plpgsql as $$
declare
  owner bigint := (item ->> 'account_id')::bigint;
  before jsonb := notifications_report(owner);
  wanted jsonb := before || case when before -> 'email' = 'null' then jsonb_build_object('event_types', item -> 'default_event_types') else '{}' end
    || (item -> 'fields');
  types text[] := array(select jsonb_array_elements_text(wanted -> 'event_types'));
begin
  if not exists (select from accounts where id = owner) then
    return '{"decision": "not_found"}';
  elsif wanted -> 'email' = 'null' then
    delete from webhook_deliveries where state = 'pending' and endpoint_id in (
      select id from webhook_endpoints where account_id = owner and kind = 'email');
    delete from webhook_endpoints where account_id = owner and kind = 'email';
  else
    update webhook_endpoints set
      url = 'mailto:' || (wanted ->> 'email'), event_types = types, updated_at = clock_timestamp(),
      disabled_at = null, disabled_reason = null, failing_since = null
    where account_id = owner and kind = 'email';
    insert into webhook_endpoints (account_id, created_by, kind, name, url, event_types)
    select owner, gen_random_uuid(), 'email', 'e-mail', 'mailto:' || (wanted ->> 'email'), types where not found;
  end if;
  perform audit(item, 'update_notifications', owner, 'account ' || owner, before, notifications_report(owner));
  return jsonb_build_object('decision', 'allowed', 'notifications', notifications_report(owner));
end $$;
