-- Which nodes serve what, as they last said themselves. A node that has been silent for five seconds is not asked.

create table nodes (
  id text primary key,
  url text not null,
  model text not null,
  state text not null check (state in ('ready', 'draining')),
  context_tokens int not null,
  running int not null,
  waiting int not null,
  blocks_total int not null,
  blocks_free int not null,
  last_seen_at timestamptz not null
) with (fillfactor = 50);
