-- The invoice of a month, made in two steps so that no call takes long and no account is locked while its entries are added up:
-- the cut, under the account's lock, says which entries belong to it; then they, which can no longer change, are summed in pieces.

-- One pass for all items, as expire. Answers how many accounts were cut: 0 when none is due. Items: {count_max}.
create function api.cut_invoices(items jsonb) returns setof jsonb language plpgsql as $$
declare
  account accounts;
  due bigint[] := array(
    select id from accounts where invoiced_until < date_trunc('month', clock_timestamp(), 'UTC')
    order by invoiced_until limit sum_of(items, 'count_max'));
begin
  due := lock_free_accounts(due);
  -- Read again under the lock: another call may have been here.
  for account in select * from accounts where id = any (due) and invoiced_until < date_trunc('month', clock_timestamp(), 'UTC') loop
    perform cut_month(account);
  end loop;
  return query select answers_of_pass(items, 'cut', cardinality(due));
end $$;

-- Works on drafts until `entries_max` entries were summed; the oldest of an account first, for it opens with the closing balance
-- of the one before. Answers how many: 0 when no draft is left. Items: {entries_max}.
create function api.sum_invoices(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', 'summed', 'count', sum_drafts((item ->> 'entries_max')::int))
  from jsonb_array_elements(items) as item
$$;

-- Items: who asks, and {account_id, number} of the invoice. Another account's looks like a missing one.
create function api.read_invoice(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'))
    || case when refusal is null then jsonb_build_object('invoice', invoice_report(invoice)) else '{}' end
  from jsonb_array_elements(items) as item, asked_invoice(item)
$$;
