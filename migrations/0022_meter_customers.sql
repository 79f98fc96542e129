-- Who pays for metered usage is who was the account's customer when it was used, whatever the account is linked to later.

alter table stripe_metering add column customer_id text;
update stripe_metering m set customer_id = a.stripe_customer_id from accounts a where a.id = m.account_id;
alter table stripe_metering alter column customer_id set not null;
create index on stripe_metering (customer_id);

alter table stripe_meter_events add column customer_id text;
update stripe_meter_events e set customer_id = a.stripe_customer_id from accounts a where a.id = e.account_id;
-- Of accounts that were unlinked before this was kept: for a person to look at.
update stripe_meter_events set state = 'rejected', error = 'the customer of the account is no longer known'
where customer_id is null and state in ('new', 'attempted');
alter table stripe_meter_events add check (customer_id is not null or state in ('sent', 'rejected'));
drop index stripe_meter_events_account_id_hour_idx;
create index on stripe_meter_events (customer_id, hour);
create index on stripe_meter_events (hour) where reconciled_at is null;
