-- Where events go: endpoints of accounts, and what is to be sent to each.

-- An event is kept as the bytes that are sent and signed. Those of before were sent to nobody, and can be listed.
alter table outbox rename column kind to type;
alter table outbox add column body text;
update outbox set body = format(
  '{"id":"evt_%s","object":"event","type":%s,"created_at":%s,"data":%s}', id, to_json(type), floor(extract(epoch from created_at)),
  jsonb_build_object('id', coalesce(payload ->> 'invoice_id', payload ->> 'key_id', account_id::text)) || (payload - 'invoice_id' - 'key_id'));
alter table outbox alter column body set not null, drop column payload, drop column sent_at; -- and the index that was of it
create index on outbox (account_id, id);

create table webhook_endpoints (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  kind text not null default 'webhook' check (kind in ('webhook', 'email')),
  name text not null,
  url text not null,
  event_types text[] not null,
  signature_type text not null default 'hmac' check (signature_type in ('hmac', 'ed25519')),
  secret bytea, -- sealed by the gateway; null where nothing is signed
  hint text,
  public_key text, -- of an ed25519 secret
  sealed_by text, -- which secret of the deployment sealed it
  old_secret bytea, -- signs beside the other until then
  both_until timestamptz,
  rotated_by uuid, -- the request that rotated the secret last
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  disabled_at timestamptz,
  disabled_reason text check (disabled_reason in ('gone', 'failing', 'requested')),
  -- How it does: since when it answers nothing but failures, whether it is slow, and until when it is left alone.
  failing_since timestamptz,
  is_slow boolean not null default false,
  resting_until timestamptz,
  -- Whoever sends to it has it alone until then.
  lease uuid,
  leased_until timestamptz
) with (fillfactor = 70);
create index on webhook_endpoints (account_id, id);
create unique index webhook_endpoints_have_one_email on webhook_endpoints (account_id) where kind = 'email';

-- An event on its way to an endpoint. It names neither by a foreign key: they are written where money moves, and go with their events.
create table webhook_deliveries (
  id bigint generated always as identity primary key,
  account_id bigint not null,
  endpoint_id bigint not null,
  event_id bigint not null,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  due_at timestamptz not null, -- the next attempt, while it is pending
  tries int not null default 0, -- of the schedule
  attempts jsonb not null default '[]', -- the last of them
  answer text, -- to the last attempt
  created_at timestamptz not null default clock_timestamp(),
  unique (event_id, endpoint_id)
) with (fillfactor = 70);
create index on webhook_deliveries (endpoint_id, id);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, due_at) where state = 'pending';
create index webhook_deliveries_answered on webhook_deliveries (endpoint_id, id) where answer is not null;

-- What was told once: that a key expires, that a month's cap is reached.
create table key_notices (
  key_id bigint not null references keys,
  expires_at timestamptz not null,
  primary key (key_id, expires_at)
);
create index keys_expiring on keys (expires_at) where revoked_at is null and expires_at is not null;

create table spend_cap_notices (
  account_id bigint not null references accounts,
  key_id bigint not null, -- 0: of the account
  month date not null,
  cap_nanousd bigint not null,
  primary key (account_id, key_id, month, cap_nanousd)
);
