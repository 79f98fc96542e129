-- How an account pays, when it is warned, and what it is told each month.

alter table accounts
  -- prepaid: paid by top-ups before it is used. postpaid: used up to the overdraft, then paid by invoice.
  add column billing_mode text not null default 'prepaid' check (billing_mode in ('prepaid', 'postpaid')),
  -- Warned when what is left falls to these parts of what was left after money last came in, or to these amounts.
  add column alert_percents int[] not null default '{50,20,5}'
    check (cardinality(alert_percents) <= 10 and 0 <= all (alert_percents) and 100 > all (alert_percents)),
  add column alert_amounts_nanousd bigint[] not null default '{}'
    check (cardinality(alert_amounts_nanousd) <= 10 and 0 <= all (alert_amounts_nanousd)),
  add column alert_base_nanousd bigint not null default 0, -- the balance after money last came in
  -- Invoices cover every entry before this moment; always the beginning of a month, UTC.
  add column invoiced_until timestamptz not null default date_trunc('month', clock_timestamp(), 'UTC');
update accounts set
  invoiced_until = date_trunc('month', created_at, 'UTC'),
  alert_base_nanousd = credited_nanousd - debited_nanousd;
create index on accounts (invoiced_until);

-- What is left fell to it: a part of what there was, or (percent null) an amount.
create type threshold as (percent int, nanousd bigint);

-- The month of one account. Its entries are those after `after_sequence` up to `last_sequence`: it begins where the one before
-- ended, so no entry is in two or in none. It is a draft while its lines are being added up, and cannot change afterwards.
create table invoices (
  account_id bigint not null references accounts,
  number int not null check (number > 0), -- without gaps in an account
  month timestamptz not null,
  billing_mode text not null,
  after_sequence bigint not null,
  last_sequence bigint not null check (last_sequence > after_sequence),
  summed_sequence bigint not null, -- how far the lines have come
  opening_nanousd bigint not null,
  closing_nanousd bigint not null, -- the sum of the lines and the opening, once closed
  created_at timestamptz not null default clock_timestamp(),
  closed_at timestamptz check ((closed_at is null) = (summed_sequence < last_sequence)),
  primary key (account_id, number),
  unique (account_id, month)
);
create index on invoices (account_id, number) where closed_at is null;

create table invoice_lines (
  account_id bigint not null,
  number int not null,
  kind text not null, -- as the entries'
  model text not null, -- '' where no model was used
  price_version int not null, -- 0 where no price was
  count bigint not null,
  prompt_tokens bigint not null,
  cached_tokens bigint not null,
  completion_tokens bigint not null,
  amount_nanousd bigint not null, -- what it did to the balance: charges are negative
  primary key (account_id, number, kind, model, price_version),
  foreign key (account_id, number) references invoices
);

create function refuse_change_of_closed() returns trigger language plpgsql as $$
begin
  if exists (
    select from invoices where account_id = coalesce(old.account_id, new.account_id)
      and number = coalesce(old.number, new.number) and closed_at is not null) then
    raise exception 'a closed invoice is immutable' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger closed_invoices_are_immutable before update on invoices for each row execute function refuse_change_of_closed();
create trigger closed_lines_are_immutable before insert or update on invoice_lines
  for each row execute function refuse_change_of_closed();
create trigger invoices_are_kept before delete on invoices for each row execute function refuse_change();
create trigger invoice_lines_are_kept before delete on invoice_lines for each row execute function refuse_change();
create trigger invoices_are_not_emptied before truncate on invoices for each statement execute function refuse_change();
create trigger invoice_lines_are_not_emptied before truncate on invoice_lines for each statement execute function refuse_change();
