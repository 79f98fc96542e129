-- LoRA adapters: names by which a model can be asked that is changed by one. What is charged is charged by that name: an adapter has prices
-- of its own, which are those of its base until one is published for it.

create table adapters (
  id text primary key check (length(id) between 1 and 200),
  base text not null, -- the model
  account_id bigint references accounts, -- whose alone it is; null: everybody's
  follows_prices boolean not null default true, -- of its base
  created_at timestamptz not null default clock_timestamp()
);
create index adapters_by_base on adapters (base);

alter table registered_nodes add column adapters text[] not null default '{}'; -- those that it says it serves beside its model
