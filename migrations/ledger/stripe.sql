-- What Stripe tells of a payment, brought into the ledger.

-- Whoever deals with a payment holds its lock until it has committed, so of a payment and its reversal the later sees the other.
create function ledger.lock_payments(items jsonb) returns void language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(payment, 0))
  from (select distinct i ->> 'payment' as payment from jsonb_array_elements(items) as i order by 1) as payments;
end $$;

create function ledger.stripe_payer(item jsonb) returns bigint language sql stable as $$
  select id from accounts
  where id = (item ->> 'account_id')::bigint or (item ->> 'account_id' is null and stripe_customer_id = item ->> 'customer_id')
$$;

-- The accounts that were credited with these payments.
create function ledger.payers_of(items jsonb) returns bigint[] language sql stable as $$
  select coalesce(array_agg(account_id), '{}') from entries
  where kind = 'top_up' and reference in (select stripe_reference(i ->> 'payment') from jsonb_array_elements(items) as i)
$$;

create function ledger.stripe_reference(id text) returns text language sql immutable as $$
  select 'stripe:' || id
$$;

-- Brings the ledger to where the reversals of a payment are: applied, or waits where the payment is not known, or what kept one from
-- being booked, which then is tried again. Expects both to be locked, the payment and its account.
create function ledger.apply_reversals(of_payment text) returns text language plpgsql as $$
declare
  payer bigint;
  reversal stripe_reversals;
  direction text;
  decision text;
begin
  select account_id into payer from entries where reference = stripe_reference(of_payment) and kind = 'top_up';
  if not found then
    return 'waits';
  end if;
  for reversal in select * from stripe_reversals where payment = of_payment for update loop
    direction := case
      when reversal.debited_at is null and not reversal.returned then 'debit'
      when reversal.debited_at is not null and reversal.returned and reversal.credited_at is null then 'credit'
    end;
    continue when direction is null;
    select adjusted ->> 'decision' into decision
    from api.adjust(jsonb_build_array(reversal_entry(payer, reversal, direction))) as adjusted;
    if decision <> 'adjusted' then
      return decision;
    end if;
    update stripe_reversals set
      debited_at = coalesce(debited_at, clock_timestamp()),
      credited_at = case direction when 'credit' then clock_timestamp() end
    where reference = reversal.reference;
  end loop;
  return 'applied';
end $$;

-- Money that Stripe has taken is gone, also where it leaves the account in debt.
create function ledger.reversal_entry(payer bigint, reversal stripe_reversals, direction text) returns jsonb language sql immutable as $$
  select jsonb_build_object(
    'account_id', payer::text, 'direction', direction, 'amount_nanousd', reversal.amount_nanousd::text, 'may_overdraw', true,
    'reference', stripe_reference(reversal.reference) || case direction when 'credit' then '/returned' else '' end,
    'note', case when reversal.reference like 'dp%' or reversal.reference like 'du%' then 'disputed ' else 'refunded ' end || reversal.payment)
$$;
