-- What an invoice is made of, and how it is shown.

-- What an entry did to the balance.
create function ledger.effect_nanousd(entry entries) returns bigint language sql immutable as $$
  select case when entry.kind in ('top_up', 'grant', 'refund', 'adjustment_credit') then entry.amount_nanousd
    else - entry.amount_nanousd end
$$;

-- Cuts the oldest month that is due of one account. Entries are written under the account's lock and dated by the clock, so an
-- account's sequence rises with the time; whatever is settled after the cut belongs to the next month. Expects the account to be locked.
create function ledger.cut_month(account accounts) returns void language plpgsql as $$
declare
  last_invoice invoices;
  month timestamptz := account.invoiced_until;
  month_end timestamptz := date_trunc('month', account.invoiced_until + interval '32 days', 'UTC');
  cut bigint;
begin
  select * into last_invoice from invoices i where i.account_id = account.id order by number desc limit 1;
  select max(sequence) into cut from entries e
  where e.account_id = account.id and sequence > coalesce(last_invoice.last_sequence, 0) and created_at < month_end;
  if cut is not null then
    insert into invoices
      (account_id, number, month, billing_mode, after_sequence, last_sequence, summed_sequence, opening_nanousd, closing_nanousd,
       seller, buyer, tax)
    values (
      account.id, coalesce(last_invoice.number, 0) + 1, month, account.billing_mode, coalesce(last_invoice.last_sequence, 0),
      cut, coalesce(last_invoice.last_sequence, 0), 0, 0, seller_now(), buyer_now(account), tax_now(account.id));
  end if;
  update accounts set invoiced_until = month_end where id = account.id;
end $$;

-- Adds the next entries of drafts to their lines, `entries_max` in all at most. Answers how many it added.
create function ledger.sum_drafts(entries_max int) returns int language plpgsql as $$
declare
  draft invoices;
  summed int := 0;
begin
  while summed < entries_max loop
    select * into draft from invoices i
    where closed_at is null and not exists (
      select from invoices b where b.account_id = i.account_id and b.number = i.number - 1 and b.closed_at is null)
    order by account_id, number limit 1 for update skip locked;
    exit when not found;
    summed := summed + sum_entries(draft, entries_max - summed);
  end loop;
  return summed;
end $$;

-- Adds the next entries of a draft to its lines, `entries_max` at most. Expects the draft to be locked.
create function ledger.sum_entries(draft invoices, entries_max int) returns int language plpgsql as $$
declare
  until_sequence bigint;
begin
  until_sequence := least(draft.summed_sequence + entries_max, draft.last_sequence);
  insert into invoice_lines
    (account_id, number, kind, model, price_version, count, prompt_tokens, cached_tokens, completion_tokens, amount_nanousd)
  select
    draft.account_id, draft.number, e.kind, coalesce(r.model, ''), coalesce(r.price_version, 0), count(*),
    coalesce(sum(u.prompt_tokens), 0), coalesce(sum(u.cached_tokens), 0), coalesce(sum(u.completion_tokens), 0),
    sum(effect_nanousd(e))
  from entries e
    left join reservations r on r.request_id = e.request_id
    left join usage u on u.request_id = e.request_id and u.settled_at = r.settled_at and e.kind <> 'refund'
  where e.account_id = draft.account_id and e.sequence > draft.summed_sequence and e.sequence <= until_sequence
  group by e.kind, r.model, r.price_version
  on conflict (account_id, number, kind, model, price_version) do update set
    count = invoice_lines.count + excluded.count,
    prompt_tokens = invoice_lines.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = invoice_lines.cached_tokens + excluded.cached_tokens,
    completion_tokens = invoice_lines.completion_tokens + excluded.completion_tokens,
    amount_nanousd = invoice_lines.amount_nanousd + excluded.amount_nanousd;
  draft.taxable_nanousd := draft.taxable_nanousd + taxable_in(draft, until_sequence);
  if until_sequence = draft.last_sequence then
    perform close_invoice(draft);
  else
    update invoices set summed_sequence = until_sequence, taxable_nanousd = draft.taxable_nanousd
    where account_id = draft.account_id and number = draft.number;
  end if;
  return until_sequence - draft.summed_sequence;
end $$;

-- What the next entries of a draft charged of money: what grants paid or got back is none. What came back of an invoice's charges is its
-- credit note's.
create function ledger.taxable_in(draft invoices, until_sequence bigint) returns bigint language sql stable as $$
  with part as materialized (
    select id, - effect_nanousd(e) as charged_nanousd from entries e
    where e.account_id = draft.account_id and e.sequence > draft.summed_sequence and e.sequence <= until_sequence
      and e.kind in ('usage', 'late_usage', 'refund')
      and (e.kind <> 'refund' or not exists (select from credit_notes c where c.entry_id = e.id)))
  select ((select coalesce(sum(charged_nanousd), 0) from part)
    - (select coalesce(sum(s.amount_nanousd), 0) from part join grant_spends s on s.entry_id = part.id)
    + (select coalesce(sum(r.amount_nanousd), 0) from part join grant_returns r on r.entry_id = part.id))::bigint
$$;

create function ledger.close_invoice(draft invoices) returns void language sql as $$
  update invoices i set
    summed_sequence = last_sequence,
    closed_at = clock_timestamp(),
    taxable_nanousd = draft.taxable_nanousd,
    tax_nanousd = tax_in(draft.taxable_nanousd, i.tax),
    opening_nanousd = opening,
    closing_nanousd = opening + (
      select sum(amount_nanousd) from invoice_lines l where l.account_id = i.account_id and l.number = i.number)
  from (select coalesce((
    select closing_nanousd from invoices where account_id = draft.account_id and number = draft.number - 1), 0) as opening) as before
  where i.account_id = draft.account_id and i.number = draft.number;
  select emit(account_id, 'invoice.closed', jsonb_build_object(
    'id', invoice_id(i), 'opening_nanousd', opening_nanousd::text, 'closing_nanousd', closing_nanousd::text))
  from invoices i where account_id = draft.account_id and number = draft.number;
$$;

create function ledger.invoice_id(invoice invoices) returns text language sql immutable as $$
  select format('inv_%s_%s', invoice.account_id, invoice.number)
$$;

create function ledger.invoice_summary(invoice invoices) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'id', invoice_id(invoice),
    'account_id', invoice.account_id::text,
    'number', invoice.number,
    'month', to_char(invoice.month at time zone 'UTC', 'YYYY-MM'),
    'billing_mode', invoice.billing_mode,
    'opening_nanousd', invoice.opening_nanousd::text,
    'closing_nanousd', invoice.closing_nanousd::text,
    'due_nanousd', greatest(0, - invoice.closing_nanousd)::text,
    'closed_at', iso(invoice.closed_at))
$$;

create function ledger.invoice_report(invoice invoices) returns jsonb language sql stable as $$
  select invoice_summary(invoice) || jsonb_build_object(
    'account_name', party(invoice.buyer) ->> 'name',
    'seller', invoice.seller,
    'buyer', party(invoice.buyer),
    'tax_lines', tax_lines(invoice.taxable_nanousd, invoice.tax_nanousd, invoice.tax),
    'after_sequence', invoice.after_sequence::text,
    'last_sequence', invoice.last_sequence::text,
    'lines', (
      select jsonb_agg(jsonb_build_object(
        'kind', l.kind,
        'model', nullif(l.model, ''),
        'price_version', nullif(l.price_version, 0),
        'input_nanousd_per_token', p.input_nanousd_per_token::text,
        'cached_input_nanousd_per_token', p.cached_input_nanousd_per_token::text,
        'output_nanousd_per_token', p.output_nanousd_per_token::text,
        'count', l.count::text,
        'prompt_tokens', l.prompt_tokens::text,
        'cached_tokens', l.cached_tokens::text,
        'completion_tokens', l.completion_tokens::text,
        'amount_nanousd', l.amount_nanousd::text) order by l.kind, l.model, l.price_version)
      from invoice_lines l left join prices p on p.model = l.model and p.version = l.price_version
      where l.account_id = invoice.account_id and l.number = invoice.number))
$$;
