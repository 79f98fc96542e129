-- What became of the requests that came with an Idempotency-Key: kept for a day, so that one asked again is not done again.
-- Keys are hashed. A body is sealed with a key that is made of the caller's own Idempotency-Key and a secret of the gateway's,
-- neither of which is here: prompts and outputs cannot be read from the database.

create table idempotent_requests (
  account_id bigint not null, -- 0: the operator
  endpoint text not null, -- method and path
  key_hash bytea not null check (octet_length(key_hash) = 32),
  fingerprint bytea not null check (octet_length(fingerprint) = 32), -- of the body, keyed like the seal
  request_id uuid not null, -- of the run that holds the key
  -- Until when a run that said nothing more is taken to be running. Null for a generation: its reservation tells.
  lease_until timestamptz,
  status int, -- null: no result is kept (yet)
  content_type text,
  body bytea,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  primary key (account_id, endpoint, key_hash)
);
alter table idempotent_requests alter column body set storage external; -- sealed bytes do not compress
create index on idempotent_requests (expires_at);
