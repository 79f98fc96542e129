-- A model may have a price for what can wait. It is a row of the price book of its own, with a version of its own: a reservation names it,
-- and is settled at it, as any other.

alter table prices add column service_tier text not null default 'default' check (service_tier in ('default', 'flex'));
