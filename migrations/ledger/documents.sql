-- Who sells to whom, the tax that is in an amount, and credit notes.

-- As they are printed. An account that said nothing of itself is known by its name.
create function ledger.seller_now() returns jsonb language sql stable as $$
  select jsonb_build_object('name', name, 'address', address, 'country', country, 'tax_id', tax_id)
  from sellers order by version desc limit 1
$$;

create function ledger.buyer_now(account accounts) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'name', coalesce(b.name, account.name), 'address', b.address, 'country', b.country, 'tax_id', b.tax_id)
  from (select account.id) as one left join buyers b on b.account_id = account.id
$$;

-- Null where the account has no tax to be told of.
create function ledger.tax_now(owner bigint) returns jsonb language sql stable as $$
  select jsonb_build_object('name', tax_name, 'rate_ppm', tax_rate_ppm, 'is_reverse_charge', is_reverse_charge)
  from buyers where account_id = owner and (tax_rate_ppm > 0 or is_reverse_charge)
$$;

-- The tax that is in an amount, to the nano-dollar; half of one counts up.
create function ledger.tax_in(amount bigint, tax jsonb) returns bigint language sql immutable as $$
  select coalesce(round(amount::numeric * (tax ->> 'rate_ppm')::int / (1000000 + (tax ->> 'rate_ppm')::int)), 0)::bigint
$$;

-- The lines of tax of a document: what is taxed, and what is in it; none where there is no tax to be told of.
create function ledger.tax_lines(taxable bigint, tax_part bigint, tax jsonb) returns jsonb language sql immutable as $$
  select case when tax is null then '[]' else jsonb_build_array(jsonb_build_object(
    'name', tax -> 'name', 'rate_ppm', tax -> 'rate_ppm', 'gross_nanousd', taxable::text, 'net_nanousd', (taxable - tax_part)::text,
    'tax_nanousd', tax_part::text,
    'note', case when (tax ->> 'is_reverse_charge')::boolean then 'Reverse charge: the recipient accounts for the tax.' end)) end
$$;

-- The number of the invoice that a charge stands in, or null.
create function ledger.invoice_of(charge entries) returns int language sql stable as $$
  select number from invoices
  where account_id = charge.account_id and after_sequence < charge.sequence and last_sequence >= charge.sequence
$$;

-- Writes a credit note of an invoice, where there is one; an entry has one at most. Expects the account to be locked.
create function ledger.note_credit(entry entries, of_number int, of_model text) returns void language sql as $$
  insert into credit_notes
    (account_id, number, invoice_number, entry_id, request_id, model, amount_nanousd, taxable_nanousd, tax_nanousd, seller, buyer, tax)
  select i.account_id, (select coalesce(max(number), 0) + 1 from credit_notes c where c.account_id = i.account_id), i.number,
    entry.id, entry.request_id, of_model, entry.amount_nanousd, taxable, tax_in(taxable, i.tax), i.seller, i.buyer, i.tax
  from invoices i, lateral (select entry.amount_nanousd - returned_nanousd(entry.id) as taxable) as t
  where i.account_id = entry.account_id and i.number = of_number
$$;

-- Why an invoice cannot be credited with so much by hand, as an answer, or null: all its credit notes together are no more than was
-- charged in it.
create function ledger.uncreditable(owner bigint, of_number int, amount bigint) returns jsonb language sql stable as $$
  select case
    when not exists (select from invoices where account_id = owner and number = of_number and closed_at is not null) then
      '{"decision": "unknown_invoice"}'::jsonb
    when amount > creditable then jsonb_build_object('decision', 'above_invoice', 'creditable_nanousd', creditable::text)
  end
  from (
    select (select coalesce(- sum(amount_nanousd), 0) from invoice_lines
        where account_id = owner and number = of_number and kind in ('usage', 'late_usage'))
      - (select coalesce(sum(amount_nanousd), 0) from credit_notes where account_id = owner and invoice_number = of_number) as creditable
  ) as left_of_it
$$;

create function ledger.credit_note_report(note credit_notes) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', format('cn_%s_%s', note.account_id, note.number),
    'account_id', note.account_id::text,
    'number', note.number,
    'invoice_id', format('inv_%s_%s', note.account_id, note.invoice_number),
    'entry_id', note.entry_id::text,
    'request_id', note.request_id,
    'model', note.model,
    'amount_nanousd', note.amount_nanousd::text,
    'seller', note.seller,
    'buyer', party(note.buyer),
    'tax_lines', tax_lines(note.taxable_nanousd, note.tax_nanousd, note.tax),
    'created_at', iso(note.created_at))
$$;

-- A party with all of its fields: of documents that were made before parties were kept only the name is known.
create function ledger.party(known jsonb) returns jsonb language sql immutable as $$
  select '{"name": "", "address": null, "country": null, "tax_id": null}'::jsonb || coalesce(known, '{}')
$$;

-- What the functions of these names in `api` do with one item.
create function ledger.buyer_report(owner bigint) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'account_id', owner::text, 'name', b.name, 'address', b.address, 'country', b.country, 'tax_id', b.tax_id,
    'tax_name', coalesce(b.tax_name, 'VAT'), 'tax_rate_ppm', coalesce(b.tax_rate_ppm, 0),
    'is_reverse_charge', coalesce(b.is_reverse_charge, false))
  from (select owner) as one left join buyers b on b.account_id = owner
$$;

create function ledger.update_buyer(item jsonb) returns jsonb language plpgsql as $$
declare
  owner bigint := (item ->> 'account_id')::bigint;
  before jsonb := buyer_report(owner);
  wanted buyers := jsonb_populate_record(null::buyers, before || (item -> 'fields'));
begin
  if not exists (select from accounts where id = owner) then
    return '{"decision": "not_found"}';
  elsif wanted.is_reverse_charge and (wanted.tax_rate_ppm > 0 or wanted.tax_id is null) then
    return '{"decision": "reverse_charge_needs_tax_id"}';
  end if;
  insert into buyers select wanted.*
  on conflict (account_id) do update set
    name = excluded.name, address = excluded.address, country = excluded.country, tax_id = excluded.tax_id,
    tax_name = excluded.tax_name, tax_rate_ppm = excluded.tax_rate_ppm, is_reverse_charge = excluded.is_reverse_charge;
  perform audit(item, 'update_buyer', owner, 'account ' || owner, before, buyer_report(owner));
  return jsonb_build_object('decision', 'allowed', 'buyer', buyer_report(owner));
end $$;

-- A version more, where something differs.
create function ledger.set_seller(item jsonb) returns jsonb language plpgsql as $$
declare
  before jsonb := seller_now();
  wanted sellers := jsonb_populate_record(null::sellers, coalesce(before, '{}') || (item -> 'fields'));
begin
  if wanted.name is null or wanted.address is null or wanted.country is null then
    return '{"decision": "incomplete_seller"}';
  end if;
  insert into sellers (name, address, country, tax_id)
  select wanted.name, wanted.address, wanted.country, wanted.tax_id
  where before is distinct from jsonb_build_object(
    'name', wanted.name, 'address', wanted.address, 'country', wanted.country, 'tax_id', wanted.tax_id);
  perform audit(item, 'set_seller', null, 'seller', before, seller_now());
  return jsonb_build_object('decision', 'allowed', 'seller', seller_now());
end $$;
