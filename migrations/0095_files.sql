-- Files of accounts. Their bytes are objects of a bucket, in parts, each sealed by the gateway: here stands what there is, and where.

create table files (
  id bigint generated always as identity primary key,
  account_id bigint not null references accounts,
  created_by uuid not null unique, -- the request that made it: asked again, it makes no second one
  purpose text not null default 'batch' check (purpose in ('batch', 'batch_output')),
  filename text not null default '',
  state text not null default 'writing' check (state in ('writing', 'ready', 'deleted')),
  bytes bigint not null default 0, -- of the parts that were written
  bytes_max bigint not null, -- what it may become while it is written
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null, -- while it is written: until when it has to be whole
  kept_until timestamptz -- a batch reads it until then, whatever becomes of it
);
create index on files (account_id, id);
create index on files (expires_at);

-- A row comes before its object and goes after it, so the bucket has nothing that no row names.
create table file_parts (
  id uuid primary key, -- the name of the object
  file_id bigint not null,
  account_id bigint not null,
  number int, -- null until its bytes are known to be there
  begins_at bigint, -- its first byte in the file
  bytes int,
  created_at timestamptz not null default clock_timestamp(),
  unique (file_id, number)
);
create index file_parts_open on file_parts (created_at) where number is null;
