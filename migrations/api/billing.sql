-- How an account pays, and when it is warned.

create function api.read_billing(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object(
    'decision', coalesce(refusal, 'allowed'), 'billing', case when refusal is null then billing_report(account) end)
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- Items: {account_id, fields}: what is not among the fields stays. A customer of Stripe's pays for one account.
create function api.update_billing(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  fields jsonb;
  account accounts;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    fields := item -> 'fields';
    if exists (
      select from accounts
      where stripe_customer_id = fields ->> 'stripe_customer_id' and id <> (item ->> 'account_id')::bigint) then
      return next '{"decision": "customer_taken"}';
      continue;
    end if;
    update accounts set
      billing_mode = coalesce(fields ->> 'billing_mode', billing_mode),
      alert_percents = case when fields ? 'alert_percents'
        then array(select jsonb_array_elements_text(fields -> 'alert_percents')::int) else alert_percents end,
      alert_amounts_nanousd = case when fields ? 'alert_amounts_nanousd'
        then array(select jsonb_array_elements_text(fields -> 'alert_amounts_nanousd')::bigint) else alert_amounts_nanousd end,
      stripe_customer_id = case when fields ? 'stripe_customer_id' then fields ->> 'stripe_customer_id' else stripe_customer_id end
    where id = (item ->> 'account_id')::bigint returning * into account;
    if account.id is not null then
      perform follow_metering(account);
    end if;
    return next case when account.id is null then '{"decision": "not_found"}'
      else jsonb_build_object('decision', 'allowed', 'billing', billing_report(account)) end;
  end loop;
end $$;
