-- Suspending an account: what runs is stopped, and nothing new is let in.

-- Items: {operator, by, account_id}. Asked again it changes nothing.
create function api.suspend_account(items jsonb) returns setof jsonb language sql as $$ select set_suspended(i, true) from locking(items) as i $$;
create function api.resume_account(items jsonb) returns setof jsonb language sql as $$ select set_suspended(i, false) from locking(items) as i $$;
