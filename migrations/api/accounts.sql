-- Accounts: who pays, and what all of its keys together may take.

-- Asked again by the same request it is the same account.
create function api.create_account(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
  is_new boolean;
begin
  for item in select * from jsonb_array_elements(items) loop
    insert into accounts
      (name, created_by, overdraft_nanousd, requests_per_minute, tokens_per_minute, requests_in_flight_max, monthly_spend_cap_nanousd)
    select
      name, created_by, coalesce(overdraft_nanousd, 0), requests_per_minute, tokens_per_minute, requests_in_flight_max,
      monthly_spend_cap_nanousd
    from jsonb_populate_record(null::accounts, item)
    on conflict (created_by) do nothing;
    is_new := found;
    select * into account from accounts where created_by = (item ->> 'created_by')::uuid;
    if is_new then
      perform audit(item, 'create_account', account.id, 'account ' || account.id, null, account_report(account));
    end if;
    return next jsonb_build_object(
      'decision', 'created', 'account_id', account.id::text, 'account', account_report(account));
  end loop;
end $$;

create function api.read_account(items jsonb) returns setof jsonb language sql as $$
  select allowed('account', account_report(account), refusal)
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- An overdraft that is in use cannot be taken away, nor one that will be when the grants that cover it now have ended: what is held
-- may yet take from them, or not.
create function api.update_account(items jsonb) returns setof jsonb language sql as $$ select update_account(i) from locking(items) as i $$;

create function api.read_balance(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'))
    || case when refusal is null then balance_report(account) else '{}' end
  from jsonb_array_elements(items) as item, asked_account(item)
$$;
