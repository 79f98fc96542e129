-- What time ends: reservations that nobody reported, and grants. A cron asks for both.

create function api.expire(items jsonb) returns setof jsonb language sql as $$
  select answers_of_pass(items, 'expired', expire_due(sum_of(items, 'count_max')::int))
$$;

-- For the cron, in one pass for all items, as expire. Items: {count_max: accounts at once}.
create function api.expire_due_grants(items jsonb) returns setof jsonb language plpgsql as $$
declare
  owners bigint[] := array(
    select distinct account_id from grants g
    where spent_nanousd + expired_nanousd < amount_nanousd and expires_at <= clock_timestamp()
      and exists (select from accounts a where a.id = g.account_id and room_of(a) > 0)
    order by account_id limit sum_of(items, 'count_max'));
begin
  owners := lock_free_accounts(owners);
  return query select answers_of_pass(items, 'expired', expire_grants(owners, clock_timestamp()));
end $$;
