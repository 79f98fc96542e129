-- Invoices as documents: who sold to whom, and the tax in it, frozen when the month is cut; and credit notes, which correct them.

-- Who sells: the last version is in force.
create table sellers (
  version int generated always as identity primary key,
  name text not null,
  address text not null,
  country text not null check (country ~ '^[A-Z]{2}$'), -- ISO 3166
  tax_id text,
  created_at timestamptz not null default clock_timestamp()
);
create trigger sellers_are_immutable before update or delete on sellers for each row execute function refuse_change();
create trigger sellers_are_kept before truncate on sellers for each statement execute function refuse_change();

-- Who buys, and the tax that is in what the account is charged. An account without a row is on its invoices by its name alone.
create table buyers (
  account_id bigint primary key references accounts,
  name text,
  address text,
  country text check (country ~ '^[A-Z]{2}$'),
  tax_id text,
  tax_name text not null default 'VAT',
  tax_rate_ppm int not null default 0 check (tax_rate_ppm between 0 and 1000000), -- 19 % is 190000
  is_reverse_charge boolean not null default false,
  check (not is_reverse_charge or (tax_rate_ppm = 0 and tax_id is not null))
);

alter table invoices disable trigger closed_invoices_are_immutable;
alter table invoices
  add column seller jsonb, -- null where none was known
  add column buyer jsonb,
  add column tax jsonb, -- its name and rate; null where none was known
  -- What was charged in the month, less what grants paid and what came back of it; the tax is in it.
  add column taxable_nanousd bigint not null default 0,
  add column tax_nanousd bigint not null default 0;
update invoices i set buyer = jsonb_build_object('name', a.name) from accounts a where a.id = i.account_id;
alter table invoices enable trigger closed_invoices_are_immutable;

-- Corrects an invoice that is cut: what came back of its charges, at the tax that it was made out with.
create table credit_notes (
  account_id bigint not null references accounts,
  number int not null check (number > 0), -- without gaps in an account
  invoice_number int not null,
  entry_id bigint not null unique references entries, -- the refund or the adjustment
  request_id uuid, -- null for an adjustment
  model text,
  amount_nanousd bigint not null check (amount_nanousd > 0),
  taxable_nanousd bigint not null check (taxable_nanousd between 0 and amount_nanousd), -- the rest went back to grants
  tax_nanousd bigint not null check (tax_nanousd between 0 and taxable_nanousd),
  seller jsonb,
  buyer jsonb not null,
  tax jsonb,
  created_at timestamptz not null default clock_timestamp(),
  primary key (account_id, number),
  foreign key (account_id, invoice_number) references invoices
);
create index on credit_notes (account_id, invoice_number);
create trigger credit_notes_are_immutable before update or delete on credit_notes for each row execute function refuse_change();
create trigger credit_notes_are_kept before truncate on credit_notes for each statement execute function refuse_change();
