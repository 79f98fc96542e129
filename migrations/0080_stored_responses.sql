-- Responses that can be read again and gone on from, for thirty days. What was asked and answered is sealed with keys that are made of a
-- secret of the gateway's: it cannot be read from the database.

create table stored_responses (
  account_id bigint not null,
  request_id uuid not null, -- of the generation; the id of the response is made of it
  input bytea not null, -- the items it was made from
  response bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  primary key (account_id, request_id)
);
alter table stored_responses alter column input set storage external; -- sealed bytes do not compress
alter table stored_responses alter column response set storage external;
create index on stored_responses (account_id, created_at);
create index on stored_responses (expires_at);

-- How much an account has of them. A row is made with the first one; whoever takes rows of stored_responses away, or adds one, locks it
-- before them.
create table stored_response_bytes (
  account_id bigint primary key,
  bytes bigint not null check (bytes >= 0)
);
