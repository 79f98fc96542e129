-- How an account pays, and when it is warned.

create function api.read_billing(items jsonb) returns setof jsonb language sql as $$
  select allowed('billing', billing_report(account), refusal)
  from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- Items: {account_id, fields}: what is not among the fields stays. A customer of Stripe's pays for one account.
create function api.update_billing(items jsonb) returns setof jsonb language sql as $$ select update_billing(i) from locking(items) as i $$;
