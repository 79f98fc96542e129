-- Money that moves otherwise than by usage: in by top-ups, grants, refunds and adjustments, out by adjustments. Items of operators say
-- who asks ({by}), and where no reference was given, for how long the same is taken for a repetition ({noticed_s}).

-- Items: {account_id, amount_nanousd, reference}. A reference is booked once, whatever it is asked for.
create function api.top_up(items jsonb) returns setof jsonb language sql as $$ select top_up(i) from locking(items) as i $$;

-- Items: {account_id, amount_nanousd, reference, expires_at, note}.
create function api.give_grant(items jsonb) returns setof jsonb language sql as $$ select give_grant(i) from locking(items) as i $$;

-- Gives back what a request was charged, or a part of it: with what was given back before, never more than that. It goes back to what
-- had paid (ledger/refunds.sql). Items: {account_id, request_id, amount_nanousd (null: all that is left), reference, note}.
create function api.refund(items jsonb) returns setof jsonb language sql as $$ select refund(i) from locking(items) as i $$;

-- An operator's correction. A debit beyond what is available is refused, unless it may leave the account in debt: then all of it
-- counts as late. A credit may correct an invoice, which makes a credit note of it. Items: {account_id, direction: credit | debit,
-- amount_nanousd, reference, note, may_overdraw, invoice_number}.
create function api.adjust(items jsonb) returns setof jsonb language sql as $$ select adjust(i) from locking(items) as i $$;
