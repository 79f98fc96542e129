-- Stripe: customers and payments in.

-- Links a customer, unless the account has one already: of two that were made at once, one stays. Items: {account_id, customer_id}.
create function api.link_stripe_customer(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  account accounts;
  taken bool;
begin
  perform lock_named_accounts(items);
  for item in select * from jsonb_array_elements(items) loop
    select exists (select from accounts where stripe_customer_id = item ->> 'customer_id' and id <> (item ->> 'account_id')::bigint)
    into taken;
    update accounts set stripe_customer_id = coalesce(stripe_customer_id, item ->> 'customer_id')
    where id = (item ->> 'account_id')::bigint and not taken returning * into account;
    if account.id is not null then
      perform follow_metering(account);
    end if;
    return next jsonb_build_object(
      'decision', case when taken then 'customer_taken' when account.id is null then 'unknown_account' else 'linked' end,
      'customer_id', account.stripe_customer_id);
  end loop;
end $$;

-- Who buys: the key's account, and its customer at Stripe if it has one.
create function api.read_buyer(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object(
    'decision', coalesce(asker_refusal(asker, item, 'admin'), 'allowed'),
    'account_id', account.id::text, 'name', account.name, 'customer_id', account.stripe_customer_id,
    'deployment_id', (select id from deployment))
  from jsonb_array_elements(items) with ordinality as i (item, place)
  cross join asker_of(item) as asker
  left join accounts account on account.id = asker.account_id
  order by place
$$;

-- A payment that succeeded, of an account or of a customer's: credits it once, and then does what was told of it before it was
-- known. One that names an account of another deployment is not ours. Items: {payment, account_id | null, customer_id | null,
-- amount_nanousd, deployment_id}.
create function api.stripe_payment(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  payer bigint;
begin
  perform lock_payments(items);
  perform lock_accounts(array(select stripe_payer(i) from jsonb_array_elements(items) as i) || payers_of(items));
  for item in select * from jsonb_array_elements(items) loop
    if item ->> 'deployment_id' <> (select id::text from deployment) then
      return next '{"decision": "other_deployment"}';
      continue;
    end if;
    payer := stripe_payer(item);
    return query select api.top_up(jsonb_build_array(jsonb_build_object(
      'account_id', payer::text, 'amount_nanousd', item ->> 'amount_nanousd', 'reference', stripe_reference(item ->> 'payment'))));
    perform apply_reversals(item ->> 'payment');
  end loop;
end $$;

-- Items: {reference, payment, amount_nanousd, returned}.
create function api.stripe_reversal(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  perform lock_payments(items);
  perform lock_accounts(payers_of(items));
  for item in select * from jsonb_array_elements(items) loop
    insert into stripe_reversals (reference, payment, amount_nanousd, returned)
    values (item ->> 'reference', item ->> 'payment', (item ->> 'amount_nanousd')::bigint, (item ->> 'returned')::boolean)
    on conflict (reference) do update set returned = stripe_reversals.returned or excluded.returned;
    return next jsonb_build_object('decision', apply_reversals(item ->> 'payment'));
  end loop;
end $$;
