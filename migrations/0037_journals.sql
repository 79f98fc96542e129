-- How far the ledger has counted each node's journal. A journal that remembers more than is counted here was told of settlements that
-- this database does not have: it was restored to an earlier moment, or is a replica that was behind.

create table journals (
  id uuid primary key, -- of the folder, not of the node
  settled_count bigint not null, -- records, each time they were settled
  told_mark bigint not null, -- what the journal last said that was acknowledged
  resending text check (resending in ('due', 'running')), -- the last day has to be told again, or is
  behind_at timestamptz -- when it was last found behind
) with (fillfactor = 50);
