-- A key that replaces another goes on with its meter: rotating a key neither empties its buckets nor forgets what it spent this month.

alter table keys add column metered_as bigint references keys; -- null: as itself
drop trigger keys_are_metered on keys;
create trigger keys_are_metered after insert on keys for each row when (new.metered_as is null) execute function add_key_meter();
