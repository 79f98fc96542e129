-- Who runs the service: operators by name, each with a role and keys of its own; what they changed; accounts that are suspended.

create table operators (
  id bigint generated always as identity primary key,
  name text not null,
  role text not null check (role in ('read', 'support', 'finance', 'owner')),
  created_at timestamptz not null default clock_timestamp(),
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  ended_at timestamptz -- it may do nothing any more; its name stays in the log
);
create unique index operators_have_one_name on operators (name) where ended_at is null;

create table operator_keys (
  id bigint generated always as identity primary key,
  operator_id bigint not null references operators,
  hash bytea not null unique check (octet_length(hash) = 32), -- sha256: the key itself is never stored
  prefix text not null,
  last_four text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  rotated_from bigint references operator_keys
);
create index on operator_keys (operator_id, id);

-- What operators changed, written in the commit that changed it.
create table audit (
  id bigint generated always as identity primary key,
  created_at timestamptz not null default clock_timestamp(),
  operator_id bigint references operators, -- null: the key that the deployment was given (ADMIN_KEY)
  operator_name text not null, -- as it was then
  operator_key_id bigint references operator_keys,
  address text, -- from where
  request_id uuid not null,
  action text not null,
  account_id bigint, -- whose it was, where it is an account's
  subject text not null, -- what was changed: 'key 12'
  before jsonb, -- the fields that differ, as they were; null where there was nothing
  after jsonb
);
create index on audit (account_id, id);
create index on audit (operator_id, id);
create trigger audit_is_immutable before update or delete on audit for each row execute function refuse_change();
create trigger audit_is_kept before truncate on audit for each statement execute function refuse_change();
create trigger operators_are_kept before delete on operators for each row execute function refuse_delete();
create trigger operators_are_not_emptied before truncate on operators for each statement execute function refuse_delete();
create trigger operator_keys_are_kept before delete on operator_keys for each row execute function refuse_delete();
create trigger operator_keys_are_not_emptied before truncate on operator_keys for each statement execute function refuse_delete();

-- A suspended account generates nothing and makes no keys; it can still read what it used and owes.
alter table accounts add column suspended_at timestamptz;
