-- Batches: files of requests that are run in their time. What a line asks stands in the file alone; here stands where it is, and how far it is.

create table batches (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  key_id bigint not null, -- whose rights and limits its lines run under
  address inet,
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  endpoint text not null,
  input_file_id bigint not null,
  metadata jsonb,
  output_expires_after_s int not null,
  state text not null default 'validating' check (
    state in ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
  created_at timestamptz not null default clock_timestamp(),
  in_progress_at timestamptz,
  expires_at timestamptz not null,
  finalizing_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  expired_at timestamptz,
  cancelling_at timestamptz,
  cancelled_at timestamptz,
  -- How far it is read and checked, and what is wrong with it.
  read_bytes bigint not null default 0,
  read_lines int not null default 0,
  model text,
  errors jsonb not null default '[]',
  -- What is written of it: into one file what was answered, into another what was not.
  output_file_id bigint,
  error_file_id bigint,
  completed_lines int not null default 0,
  failed_lines int not null default 0,
  has_lines boolean not null default false, -- in batch_lines
  prompt_tokens bigint not null default 0,
  cached_tokens bigint not null default 0,
  completion_tokens bigint not null default 0,
  -- Whoever works on it has it alone until then.
  lease uuid,
  leased_until timestamptz,
  due_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
create index on batches (account_id, id);
create index batches_due on batches (due_at) where state in ('validating', 'in_progress', 'finalizing', 'cancelling');
create index batches_of_file on batches (input_file_id) where state in ('validating', 'in_progress', 'finalizing', 'cancelling');

create table batch_lines (
  batch_id bigint not null,
  number int not null, -- of the line in its file, from 1
  begins_at bigint not null, -- its first byte
  bytes int not null,
  custom_id_hash bytea not null, -- what it is called stands in the file
  job_id uuid not null default gen_random_uuid(), -- of the job that it becomes
  -- waiting to be a job; offered to nodes; answered, or never to be; written into a file
  state text not null default 'waiting' check (state in ('waiting', 'offered', 'done', 'written')),
  refusal jsonb, -- why it never became a job: {status_code, error}; status_code is null where nothing was asked
  primary key (batch_id, number),
  unique (batch_id, custom_id_hash)
) with (fillfactor = 70);
create unique index batch_lines_jobs on batch_lines (job_id) where state in ('waiting', 'offered');
create index batch_lines_waiting on batch_lines (batch_id, number) where state = 'waiting';
create index batch_lines_offered on batch_lines (batch_id, number) where state = 'offered';
create index batch_lines_done on batch_lines (batch_id, number) where state = 'done';
