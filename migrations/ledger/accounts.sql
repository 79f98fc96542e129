-- What an account has, and how it is shown.

create function ledger.account_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', account.id::text,
    'name', account.name,
    'created_at', iso(account.created_at),
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'available_nanousd',
      (account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd)::text,
    'requests_per_minute', account.requests_per_minute,
    'tokens_per_minute', account.tokens_per_minute,
    'requests_in_flight_max', account.requests_in_flight_max,
    'monthly_spend_cap_nanousd', account.monthly_spend_cap_nanousd::text,
    'requests_in_flight', m.requests_in_flight,
    'charged_this_month_nanousd', (case when m.month = this_month() then m.charged_nanousd else 0 end)::text)
  from meters m where m.account_id = account.id and m.key_id = 0
$$;

-- What may still be held or debited before `never_overspent` would be broken.
create function ledger.room_of(account accounts) returns numeric language sql immutable as $$
  select account.credited_nanousd::numeric + account.overdraft_nanousd
    - account.debited_nanousd + account.late_nanousd - account.pending_nanousd
$$;

create function ledger.balance_report(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', account.id::text,
    'credited_nanousd', account.credited_nanousd::text,
    'debited_nanousd', account.debited_nanousd::text,
    'pending_nanousd', account.pending_nanousd::text,
    'overdraft_nanousd', account.overdraft_nanousd::text,
    'balance_nanousd', (account.credited_nanousd - account.debited_nanousd)::text,
    'available_nanousd',
      (account.credited_nanousd::numeric + account.overdraft_nanousd - account.debited_nanousd - account.pending_nanousd)::text)
$$;
