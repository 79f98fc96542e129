-- Accounts: who pays, and what all of its keys together may take.

-- Asked again by the same request it is the same account.
create function api.create_account(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
begin
  for item in select * from jsonb_array_elements(items) loop
    insert into accounts
      (name, created_by, overdraft_nanousd, requests_per_minute, tokens_per_minute, requests_in_flight_max, monthly_spend_cap_nanousd)
    select
      name, created_by, coalesce(overdraft_nanousd, 0), requests_per_minute, tokens_per_minute, requests_in_flight_max,
      monthly_spend_cap_nanousd
    from jsonb_populate_record(null::accounts, item)
    on conflict (created_by) do nothing;
    select * into account from accounts where created_by = (item ->> 'created_by')::uuid;
    return next jsonb_build_object(
      'decision', 'created', 'account_id', account.id::text, 'account', account_report(account));
  end loop;
end $$;

create function api.read_account(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object(
    'decision', coalesce(refusal, 'allowed'), 'account', case when refusal is null then account_report(account) end)
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- An overdraft that is in use cannot be taken away, nor one that will be when the grants that cover it now have ended: what is held
-- may yet take from them, or not.
create function api.update_account(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    perform expire_grants(array[(item ->> 'account_id')::bigint], clock_timestamp());
    update accounts a set
      name = wanted.name, overdraft_nanousd = wanted.overdraft_nanousd, requests_per_minute = wanted.requests_per_minute,
      tokens_per_minute = wanted.tokens_per_minute, requests_in_flight_max = wanted.requests_in_flight_max,
      monthly_spend_cap_nanousd = wanted.monthly_spend_cap_nanousd
    from accounts old, jsonb_populate_record(old, item -> 'fields') as wanted
    where old.id = (item ->> 'account_id')::bigint and a.id = old.id
      and (wanted.overdraft_nanousd >= a.overdraft_nanousd
        or a.overdraft_nanousd - wanted.overdraft_nanousd <= room_of(a) - greatest(0, (
          select sum(left_of(g)) - a.pending_nanousd from grants g
          where account_id = a.id and spent_nanousd + expired_nanousd < amount_nanousd)))
    returning a.* into account;
    return next case
      when account.id is not null then jsonb_build_object('decision', 'allowed', 'account', account_report(account))
      when exists (select from accounts where id = (item ->> 'account_id')::bigint) then
        jsonb_build_object('decision', 'overdraft_in_use')
      else jsonb_build_object('decision', 'not_found')
    end;
  end loop;
end $$;

create function api.read_balance(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'))
    || case when refusal is null then balance_report(account) else '{}' end
  from jsonb_array_elements(items) as item, asked_account(item)
$$;
