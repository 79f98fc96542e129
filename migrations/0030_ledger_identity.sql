-- Which ledger this is: made once, with the database. A generation carries it to its node and back in its usage record, so that usage
-- is only ever booked where it is owed. A copy that is to go on beside its original needs one of its own:
--   update ledger_identity set id = gen_random_uuid();

create table ledger_identity (
  is_only boolean primary key default true check (is_only), -- there is one row
  id uuid not null default gen_random_uuid()
);
insert into ledger_identity default values;
