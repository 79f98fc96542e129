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
  end if;
  return line;
end $$;

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
