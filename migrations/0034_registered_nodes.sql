-- Which nodes may report and be asked. An operator gives each its id, its address, its model and the public half of a key that is the
-- node's alone. The table `nodes` is what gateways of the release before know; those of this one know only what stands here.

create table registered_nodes (
  id text primary key check (length(id) between 1 and 100),
  url text not null,
  model text not null,
  key text not null unique, -- Ed25519, base64url
  old_key text, -- works beside it for a while after it was replaced
  old_key_until timestamptz check ((old_key is null) = (old_key_until is null)),
  drained_at timestamptz, -- an operator wants nothing new to be given to it
  created_at timestamptz not null default clock_timestamp(),
  -- What it last said of itself; null until it has said something.
  state text check (state in ('ready', 'draining', 'stopped')),
  context_tokens int,
  running int,
  waiting int,
  blocks_total int,
  blocks_free int,
  last_seen_at timestamptz,
  -- The process that speaks for it, and its last report.
  boot_id uuid,
  folder_id uuid,
  boot_number bigint,
  sequence bigint,
  sent_at timestamptz,
  report_id uuid
) with (fillfactor = 50);

-- Reports that were refused, and records that were charged to nobody, added up: by node and reason, so that one who repeats them
-- for ever fills nothing. What nodes say that are not registered is added up under the id ''.
create table node_refusals (
  node_id text,
  reason text,
  count bigint not null,
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  hour timestamptz not null, -- the last one that there were any in
  count_in_hour bigint not null,
  detail jsonb not null, -- of the last one
  primary key (node_id, reason)
) with (fillfactor = 50);
