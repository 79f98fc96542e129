-- Money that moves otherwise than by usage: in by top-ups, grants, refunds and adjustments, out by adjustments.

-- Items: {account_id, amount_nanousd, reference}. A reference is booked once, whatever it is asked for.
create function api.top_up(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    return next coalesce(
      booked_before(item, array['top_up'], 'credited'),
      (select booked(book_entry(new_entry(item, 'top_up')), 'credited')
       from accounts where id = (item ->> 'account_id')::bigint),
      '{"decision": "unknown_account"}');
  end loop;
end $$;

-- Items: {account_id, amount_nanousd, reference, expires_at, note}.
create function api.give_grant(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  answer jsonb;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    answer := booked_before(item, array['grant'], 'granted');
    if answer is null and exists (select from accounts where id = (item ->> 'account_id')::bigint) then
      answer := booked(book_entry(new_entry(item, 'grant')), 'granted');
      insert into grants (entry_id, account_id, amount_nanousd, expires_at)
      select (answer ->> 'entry_id')::bigint, (item ->> 'account_id')::bigint, (item ->> 'amount_nanousd')::bigint,
        (item ->> 'expires_at')::timestamptz
      where answer ->> 'decision' = 'granted';
    end if;
    return next coalesce(answer, '{"decision": "unknown_account"}');
  end loop;
end $$;

-- Gives back what a request was charged, or a part of it: with what was given back before, never more than that. What a refund
-- gives is credit like a top-up's, also where a grant had paid. Items: {account_id, request_id, amount_nanousd (null: all that is
-- left), reference, note}.
create function api.refund(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  answer jsonb;
  charged bigint;
  refunded bigint;
  amount bigint;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    answer := booked_before(item, array['refund'], 'refunded');
    if answer is null then
      select amount_nanousd into charged from entries
      where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint
        and kind in ('usage', 'late_usage');
      select coalesce(sum(amount_nanousd), 0) into refunded from entries
      where request_id = (item ->> 'request_id')::uuid and kind = 'refund';
      amount := coalesce((item ->> 'amount_nanousd')::bigint, charged - refunded);
      answer := case
        when charged is null then '{"decision": "not_charged"}'
        when amount > charged - refunded or amount = 0 then
          jsonb_build_object('decision', 'above_charge', 'refundable_nanousd', (charged - refunded)::text)
      end;
    end if;
    if answer is null then
      item := item || jsonb_build_object('amount_nanousd', amount::text);
      answer := booked(book_entry(new_entry(item, 'refund')), 'refunded');
    end if;
    return next answer;
  end loop;
end $$;

-- An operator's correction. A debit beyond what is available is refused, unless it may leave the account in debt: then all of it
-- counts as late. Items: {account_id, direction: credit | debit, amount_nanousd, reference, note, may_overdraw}.
create function api.adjust(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  answer jsonb;
  account accounts;
  amount bigint;
  wanted_kind text;
  moment timestamptz;
  entry entries;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    amount := (item ->> 'amount_nanousd')::bigint;
    answer := booked_before(item, case item ->> 'direction'
      when 'credit' then array['adjustment_credit'] else array['adjustment_debit', 'adjustment_late_debit'] end, 'adjusted');
    moment := clock_timestamp();
    perform expire_grants(array[(item ->> 'account_id')::bigint], moment);
    select * into account from accounts where id = (item ->> 'account_id')::bigint;
    wanted_kind := case
      when item ->> 'direction' = 'credit' then 'adjustment_credit'
      when account.debited_nanousd + account.pending_nanousd + amount::numeric
        <= account.credited_nanousd::numeric + account.overdraft_nanousd then 'adjustment_debit'
      when (item ->> 'may_overdraw')::boolean then 'adjustment_late_debit'
    end;
    answer := coalesce(answer, case
      when account.id is null then '{"decision": "unknown_account"}'::jsonb
      when wanted_kind is null then '{"decision": "insufficient_balance"}'
    end);
    if answer is null then
      entry := new_entry(item, wanted_kind);
      entry.created_at := moment;
      entry := book_entry(entry);
      if entry.kind <> 'adjustment_credit' then -- nor null
        perform spend_grants(entry.id, entry.account_id, entry.amount_nanousd, entry.created_at);
      end if;
      answer := booked(entry, 'adjusted');
    end if;
    return next answer;
  end loop;
end $$;
