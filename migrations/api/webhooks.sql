-- Endpoints of webhooks, as a key of the account with the scope `webhooks` asks about them; and what the gateway asks to send.

-- Items: {key_hash, created_by, name, url, event_types, signature_type, sealed, hint, public_key, sealed_by}.
create function api.create_webhook_endpoint(items jsonb) returns setof jsonb language sql as $$
  select create_webhook_endpoint(i) from locking_endpoints(items) as i
$$;

-- With {with_secrets: true} it answers them too, sealed.
create function api.read_webhook_endpoint(items jsonb) returns setof jsonb language sql as $$
  select read_webhook_endpoint(i) from jsonb_array_elements(items) as i
$$;

create function api.update_webhook_endpoint(items jsonb) returns setof jsonb language sql as $$
  select update_webhook_endpoint(i) from locking_endpoints(items) as i
$$;

create function api.delete_webhook_endpoint(items jsonb) returns setof jsonb language sql as $$
  select delete_webhook_endpoint(i) from locking_endpoints(items) as i
$$;

create function api.rotate_webhook_secret(items jsonb) returns setof jsonb language sql as $$
  select rotate_webhook_secret(i) from locking_endpoints(items) as i
$$;

create function api.claim_deliveries(items jsonb) returns setof jsonb language sql as $$
  select claim_deliveries(i) from jsonb_array_elements(items) as i
$$;

create function api.note_attempt(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_endpoints(items);
  return query select note_attempt(i) from jsonb_array_elements(items) as i;
end $$;

-- One pass for all items, as expire. Items: {count_max}.
create function api.note_expiring_keys(items jsonb) returns setof jsonb language sql as $$
  select answers_of_pass(items, 'told', note_expiring_keys(sum_of(items, 'count_max')::int))
$$;

create function api.forget_events(items jsonb) returns setof jsonb language sql as $$
  select answers_of_pass(items, 'forgotten', forget_events(sum_of(items, 'count_max')::int))
$$;

-- Items: {key_hash, endpoint_id, delivery_id}.
create function api.resend_webhook_delivery(items jsonb) returns setof jsonb language sql as $$
  select resend_webhook_delivery(i) from locking_endpoints(items) as i
$$;

-- Items: {key_hash, endpoint_id, since, limit}.
create function api.recover_webhook_deliveries(items jsonb) returns setof jsonb language sql as $$
  select recover_webhook_deliveries(i) from locking_endpoints(items) as i
$$;

-- Items: {sealed_by, after, count_max}.
create function api.list_sealed_secrets(items jsonb) returns setof jsonb language sql as $$
  select list_sealed_secrets(i) from jsonb_array_elements(items) as i
$$;

-- Items: {endpoint_id, before, sealed, old_sealed, sealed_by}.
create function api.reseal_secret(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_endpoints(items);
  return query select reseal_secret(i) from jsonb_array_elements(items) as i;
end $$;

-- Items: {operator, by, account_id} and, to change it, {fields: {email, event_types}, default_event_types}.
create function api.read_notifications(items jsonb) returns setof jsonb language sql as $$
  select allowed('notifications', notifications_report((account).id), refusal)
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

create function api.update_notifications(items jsonb) returns setof jsonb language sql as $$
  select update_notifications(i) from locking(items) as i
$$;
