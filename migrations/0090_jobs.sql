-- Jobs: generations that nobody's connection waits for. A node that has room takes one, and the ledger admits it then, as any request.
-- What is asked, said and answered is sealed by the gateway with keys that are made of a secret of its own.

create table jobs (
  id uuid primary key,
  account_id bigint not null,
  key_id bigint not null, -- whose limits and rights it runs under
  kind text not null check (kind in ('response', 'batch')), -- whose it is, and who is told of its end (ledger/jobs.sql, job_ended)
  owner text not null default '', -- which of them, in the words of its kind
  model text not null,
  state text not null default 'queued' check (state in ('queued', 'running', 'completed', 'incomplete', 'failed', 'cancelled')),
  admission jsonb not null, -- the item that `admit` is asked with, but for who asks and the limits
  address inet, -- from where it was asked; none once it has ended
  request bytea, -- the body that a node gets; none once it has ended
  input bytea, -- what a response was made from; none once it has ended
  head bytea, -- what a response says before it has ended
  -- The attempt that runs: a request of the ledger's own each.
  request_id uuid,
  attempts int not null default 0,
  take_id uuid,
  node_id text,
  leased_until timestamptz,
  -- What of a stream is stored.
  chunk_count int not null default 0,
  event_count int not null default 0,
  stored_length bigint not null default 0, -- UTF-16 units
  stored_sha256 text,
  -- How it ended.
  status_code int, -- that a caller who had waited would have got
  error jsonb, -- {message, type, param, code}
  usage jsonb, -- {prompt_tokens, cached_tokens, completion_tokens}
  result bytea, -- the whole answer; that of a response lies in stored_responses
  created_at timestamptz not null default clock_timestamp(),
  due_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null, -- it has begun by then, or fails
  ended_at timestamptz check ((ended_at is null) = (state in ('queued', 'running'))),
  check ((request is null) = (state not in ('queued', 'running')))
) with (fillfactor = 70);
alter table jobs alter column request set storage external; -- sealed bytes do not compress
alter table jobs alter column input set storage external;
alter table jobs alter column result set storage external;
create index jobs_queued on jobs (model, account_id, due_at) where state = 'queued';
create index jobs_due on jobs (model, due_at) where state = 'queued';
create index jobs_expiring on jobs (expires_at) where state = 'queued';
create index jobs_leased on jobs (leased_until) where state = 'running';
create index jobs_of_node on jobs (node_id) where state = 'running';
create index jobs_open on jobs (account_id, kind) where state in ('queued', 'running');
create index jobs_ended on jobs (ended_at) where ended_at is not null;
create unique index jobs_taken on jobs (take_id) where take_id is not null;
create index jobs_attempted on jobs (request_id) where request_id is not null;
create index jobs_owned on jobs (kind, owner) where owner <> '';

-- What a stream said, in pieces of whole events.
create table job_chunks (
  job_id uuid not null,
  number int not null,
  event_count int not null, -- of the stream, up to its end
  text bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (job_id, number)
);
alter table job_chunks alter column text set storage external;
create index on job_chunks (created_at);
