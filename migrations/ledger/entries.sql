-- How an entry is booked, once a reference.

-- Books one entry and what it does to its account, which must be locked. Who calls it has made sure that the balance covers a debit.
-- Null where the account would have had more, or spent more, than a bigint counts.
create function ledger.book_entry(line entries) returns entries language plpgsql as $$
declare
  is_credit boolean := line.kind in ('top_up', 'grant', 'refund', 'adjustment_credit');
  is_late boolean := line.kind = 'adjustment_late_debit';
begin
  update accounts set
    entry_count = entry_count + 1,
    credited_nanousd = credited_nanousd + case when is_credit then line.amount_nanousd else 0 end,
    debited_nanousd = debited_nanousd + case when is_credit then 0 else line.amount_nanousd end,
    late_nanousd = late_nanousd + case when is_late then line.amount_nanousd else 0 end,
    alert_base_nanousd = case when line.kind in ('top_up', 'grant')
      then credited_nanousd + line.amount_nanousd - debited_nanousd else alert_base_nanousd end
  where id = line.account_id
    and case when is_credit then credited_nanousd else debited_nanousd end::numeric + line.amount_nanousd <= 9223372036854775807
  returning entry_count into line.sequence;
  if not found then
    return null;
  end if;
  insert into entries (account_id, sequence, request_id, kind, amount_nanousd, reference, note, created_at)
  values (
    line.account_id, line.sequence, line.request_id, line.kind, line.amount_nanousd, line.reference, line.note,
    coalesce(line.created_at, clock_timestamp()))
  returning * into line;
  if not is_credit then
    perform alert_debit(line.account_id, line.amount_nanousd);
  elsif line.kind = 'top_up' then
    perform emit(line.account_id, 'balance.topped_up', topped_up(line));
  end if;
  return line;
end $$;

create function ledger.topped_up(line entries) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', line.id::text, 'amount_nanousd', line.amount_nanousd::text, 'left_nanousd', left_nanousd(a)::text, 'reference', line.reference)
  from accounts a where id = line.account_id
$$;

create function ledger.new_entry(item jsonb, kind text) returns entries language sql stable as $$
  select jsonb_populate_record(null::entries, item - array['id', 'sequence', 'created_at'] || jsonb_build_object('kind', kind))
$$;

-- What was booked under the item's reference already, as an answer: the same, or something else. Null where nothing was.
create function ledger.booked_before(item jsonb, kinds text[], done text) returns jsonb language plpgsql as $$
declare
  entry entries;
begin
  select * into entry from entries where reference = item ->> 'reference';
  return case when found then jsonb_build_object(
    'decision', case
      when entry.kind = any (kinds)
        and entry.account_id = coalesce((item ->> 'account_id')::bigint, entry.account_id)
        and entry.request_id is not distinct from (item ->> 'request_id')::uuid
        and entry.amount_nanousd = coalesce((item ->> 'amount_nanousd')::bigint, entry.amount_nanousd) then done
      else 'reference_taken' end,
    'entry_id', entry.id::text, 'account_id', entry.account_id::text, 'kind', entry.kind,
    'amount_nanousd', entry.amount_nanousd::text) end;
end $$;

create function ledger.booked(entry entries, done text) returns jsonb language sql immutable as $$
  select case when entry.id is null then '{"decision": "uncountable"}' else jsonb_build_object(
    'decision', done, 'entry_id', entry.id::text, 'account_id', entry.account_id::text, 'kind', entry.kind,
    'amount_nanousd', entry.amount_nanousd::text) end
$$;

-- The same by hand within the last minutes, as an answer, where the item asks for that ({noticed_s}): whoever gave no reference may have
-- typed it twice. Of refunds only one of the same request is the same.
create function ledger.repeated(item jsonb, of_action text) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'repeated', 'entry_id', after ->> 'entry_id',
    'booked_s_ago', floor(extract(epoch from clock_timestamp() - created_at))::int)
  from audit
  where account_id = (item ->> 'account_id')::bigint and action = of_action
    and created_at > clock_timestamp() - (item ->> 'noticed_s')::int * interval '1 second'
    and after ->> 'amount_nanousd' = item ->> 'amount_nanousd' and after ->> 'request_id' is not distinct from item ->> 'request_id'
    and after ->> 'direction' is not distinct from item ->> 'direction'
  order by id desc limit 1
$$;

-- Writes down what an operator booked, and what it did to the balance.
create function ledger.audit_entry(item jsonb, action text, entry entries) returns void language sql as $$
  select audit(item, action, a.id, 'entry ' || entry.id,
    jsonb_build_object('balance_nanousd', (balance - effect_nanousd(entry))::text),
    jsonb_strip_nulls(jsonb_build_object(
      'balance_nanousd', balance::text, 'entry_id', entry.id::text, 'kind', entry.kind, 'amount_nanousd', entry.amount_nanousd::text,
      'reference', entry.reference, 'note', entry.note, 'request_id', entry.request_id, 'direction', item ->> 'direction')))
  from accounts a, lateral (select a.credited_nanousd::numeric - a.debited_nanousd as balance) as now
  where a.id = entry.account_id
$$;

-- What the functions of these names in `api` do with one item. They have locked its account.
create function ledger.top_up(item jsonb) returns jsonb language plpgsql as $$
declare
  answer jsonb := coalesce(booked_before(item, array['top_up'], 'credited'), repeated(item, 'top_up'));
  entry entries;
begin
  if answer is null and exists (select from accounts where id = (item ->> 'account_id')::bigint) then
    entry := book_entry(new_entry(item, 'top_up'));
    answer := booked(entry, 'credited');
    perform audit_entry(item, 'top_up', entry);
  end if;
  return coalesce(answer, '{"decision": "unknown_account"}');
end $$;

create function ledger.give_grant(item jsonb) returns jsonb language plpgsql as $$
declare
  answer jsonb := coalesce(booked_before(item, array['grant'], 'granted'), repeated(item, 'give_grant'));
  entry entries;
begin
  if answer is null and exists (select from accounts where id = (item ->> 'account_id')::bigint) then
    entry := book_entry(new_entry(item, 'grant'));
    answer := booked(entry, 'granted');
    insert into grants (entry_id, account_id, amount_nanousd, expires_at)
    select entry.id, entry.account_id, entry.amount_nanousd, (item ->> 'expires_at')::timestamptz where entry.id is not null;
    perform audit_entry(item, 'give_grant', entry);
  end if;
  return coalesce(answer, '{"decision": "unknown_account"}');
end $$;

create function ledger.refund(item jsonb) returns jsonb language plpgsql as $$
declare
  answer jsonb := booked_before(item, array['refund'], 'refunded');
  charge entries;
  refunded bigint;
  amount bigint;
  entry entries;
begin
  if answer is null then
    select * into charge from entries
    where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint
      and kind in ('usage', 'late_usage');
    select coalesce(sum(amount_nanousd), 0) into refunded from entries
    where request_id = (item ->> 'request_id')::uuid and kind = 'refund';
    amount := coalesce((item ->> 'amount_nanousd')::bigint, charge.amount_nanousd - refunded);
    item := item || jsonb_build_object('amount_nanousd', amount::text);
    answer := case
      when charge.id is null then '{"decision": "not_charged"}'
      when amount > charge.amount_nanousd - refunded or amount = 0 then
        jsonb_build_object('decision', 'above_charge', 'refundable_nanousd', (charge.amount_nanousd - refunded)::text)
      else repeated(item, 'refund')
    end;
  end if;
  if answer is null then
    entry := give_back(new_entry(item, 'refund'), charge);
    answer := booked(entry, 'refunded');
    perform audit_entry(item, 'refund', entry);
  end if;
  return answer;
end $$;

create function ledger.adjust(item jsonb) returns jsonb language plpgsql as $$
declare
  answer jsonb := coalesce(booked_before(item, case item ->> 'direction'
    when 'credit' then array['adjustment_credit'] else array['adjustment_debit', 'adjustment_late_debit'] end, 'adjusted'),
    repeated(item, 'adjust'));
  account accounts;
  amount bigint := (item ->> 'amount_nanousd')::bigint;
  wanted_kind text;
  moment timestamptz := clock_timestamp();
  entry entries;
begin
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
    when item ? 'invoice_number' then uncreditable(account.id, (item ->> 'invoice_number')::int, amount)
  end);
  if answer is null then
    entry := new_entry(item, wanted_kind);
    entry.created_at := moment;
    entry := book_entry(entry);
    if entry.kind <> 'adjustment_credit' then -- nor null
      perform spend_grants(entry.id, entry.account_id, entry.amount_nanousd, entry.created_at);
    elsif item ? 'invoice_number' then
      perform note_credit(entry, (item ->> 'invoice_number')::int, null);
    end if;
    answer := booked(entry, 'adjusted');
    perform audit_entry(item, 'adjust', entry);
  end if;
  return answer;
end $$;
