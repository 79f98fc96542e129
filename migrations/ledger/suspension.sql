-- Accounts that are suspended: why their keys are refused, and how one is suspended and resumed.

-- Why the key of such an account may not do this, or null. It may still read what it used and owes. A gateway that does not know of
-- suspension is told what means the same to its client: that the key is not valid now.
create function ledger.suspension_refusal(suspended_at timestamptz, scope text, item jsonb) returns text language sql immutable as $$
  select case when suspended_at is not null and scope is distinct from 'usage' then
    case when item -> 'knows_suspension' = 'true' then 'account_suspended' else 'revoked_key' end end
$$;

-- Expects the account to be locked: what was admitted before is seen here and stopped, what comes later is refused there.
create function ledger.set_suspended(item jsonb, is_wanted boolean) returns jsonb language plpgsql as $$
declare
  before accounts;
  account accounts;
begin
  select * into before from accounts where id = (item ->> 'account_id')::bigint;
  if before.id is null then
    return '{"decision": "not_found"}';
  end if;
  update accounts set suspended_at = case when is_wanted then coalesce(suspended_at, clock_timestamp()) end
  where id = before.id returning * into account;
  if is_wanted then
    update reservations set stopped_at = clock_timestamp()
    where account_id = account.id and state = 'pending' and stopped_at is null
      and created_at > clock_timestamp() - interval '1 day'; -- none is pending so long: the index is of times
  end if;
  if before.suspended_at is distinct from account.suspended_at then
    perform emit(account.id, case when is_wanted then 'account.suspended' else 'account.resumed' end,
      jsonb_build_object('id', account.id::text, 'name', account.name));
    perform audit(item, case when is_wanted then 'suspend_account' else 'resume_account' end, account.id, 'account ' || account.id,
      jsonb_build_object('suspended_at', iso(before.suspended_at)), jsonb_build_object('suspended_at', iso(account.suspended_at)));
  end if;
  return jsonb_build_object('decision', 'allowed', 'account', account_report(account));
end $$;
