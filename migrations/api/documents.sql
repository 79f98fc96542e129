-- The parties of invoices, and credit notes.

-- Items: {operator, account_id}.
create function api.read_buyer_data(items jsonb) returns setof jsonb language sql as $$
  select allowed('buyer', buyer_report((account).id), refusal) from jsonb_array_elements(items) as item, asked_account(item)
$$;

-- Items: {operator, by, account_id, fields}: what is not among the fields stays.
create function api.update_buyer_data(items jsonb) returns setof jsonb language sql as $$ select update_buyer(i) from locking(items) as i $$;

-- Items: {operator}. Null before there is one.
create function api.read_seller(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', 'allowed', 'seller', seller_now()) from jsonb_array_elements(items)
$$;

-- Items: {operator, by, fields}.
create function api.set_seller(items jsonb) returns setof jsonb language plpgsql as $$
begin
  lock table sellers in share row exclusive mode; -- one at a time; readers go on
  return query select set_seller(i) from jsonb_array_elements(items) as i;
end $$;

-- Items: who asks, and {account_id, number} of the credit note. Another account's looks like a missing one.
create function api.read_credit_note(items jsonb) returns setof jsonb language sql as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'))
    || case when refusal is null then jsonb_build_object('credit_note', credit_note_report(note)) else '{}' end
  from jsonb_array_elements(items) as item, asked_credit_note(item)
$$;
