-- Which deployment this is: two may share one account at Stripe, and a copy of a database is another deployment once it is given another id.

create table deployment (
  only_row boolean primary key default true check (only_row),
  id uuid not null default gen_random_uuid()
);
insert into deployment default values;

-- The name that an event has at Stripe, fixed when it is first tried: sent again under another it would be counted twice.
alter table stripe_meter_events add column identifier text;
update stripe_meter_events set identifier = format('usage-%s-%s-%s', account_id, extract(epoch from hour)::bigint, revision)
where attempt > 0;
