-- Who asks, what they ask about, and why they may not.

-- Why this key may not do this, or null where it may.
create function ledger.key_refusal(key keys, scope text, item jsonb default null) returns text language sql as $$
  select coalesce(own_refusal(key, scope, item), suspension_refusal((select suspended_at from accounts where id = key.account_id), scope, item))
$$;

-- The same as far as the key alone says it. `item` carries the caller's address: a key that is bound to addresses is refused where none
-- is known. The scope `admin` is every scope, on the key's own account; where `scope` is null it needs none.
create function ledger.own_refusal(key keys, scope text, item jsonb) returns text language sql as $$
  select case
    when key.id is null then 'unknown_key'
    when key.revoked_at is not null then 'revoked_key'
    when key.expires_at <= clock_timestamp() then 'expired_key'
    when not coalesce(key.allowed_ips is null or (item ->> 'address')::inet <<= any (key.allowed_ips), false) then
      'address_not_allowed'
    when scope is not null and not key.scopes && array[scope, 'admin'] then 'missing_scope'
  end
$$;

-- Who asks about keys: a key of the account, with the scope for it, or the operator ({operator: true}), whose asker is null.
create function ledger.asker_of(item jsonb) returns keys language sql stable as $$
  select k from keys k where hash = decode(item ->> 'key_hash', 'hex') and not item ? 'operator'
$$;

create function ledger.asker_refusal(asker keys, item jsonb, scope text default 'keys') returns text language sql as $$
  select case when item -> 'operator' = 'true' then null else key_refusal(asker, scope, item) end
$$;

-- The items, once the accounts whose keys are asked about are locked, before anything is read of who asks: what a revocation has ended
-- is seen as ended. Whoever is given one has to be volatile.
create function ledger.locking_askers(items jsonb) returns setof jsonb language plpgsql as $$
begin
  perform lock_accounts(array(
    select coalesce(asker.account_id, asked_about.account_id, (i ->> 'account_id')::bigint)
    from jsonb_array_elements(items) as i
    left join keys asker on not i ? 'operator' and asker.hash = decode(i ->> 'key_hash', 'hex')
    left join keys asked_about on i ? 'operator' and asked_about.id = (i ->> 'key_id')::bigint));
  return query select jsonb_array_elements(items);
end $$;

-- Who asks about which key (about itself where none is named), and why they may not, or null. A key of another account is as good as
-- missing. With {self_without_scope: true} a key needs no scope to ask about itself.
create function ledger.asked_key(item jsonb, out asker keys, out key keys, out refusal text) language plpgsql stable as $$
begin
  asker := asker_of(item);
  select * into key from keys k
  where k.id = coalesce((item ->> 'key_id')::bigint, asker.id) and (asker.id is null or k.account_id = asker.account_id);
  refusal := coalesce(
    asker_refusal(asker, item, case when item -> 'self_without_scope' = 'true' and key.id = asker.id then null else 'keys' end),
    case when key.id is null then 'not_found' end);
end $$;

-- The invoice that is asked about, and why it may not be seen, or null.
create function ledger.asked_invoice(item jsonb, out invoice invoices, out refusal text) language plpgsql stable as $$
declare
  asker keys := asker_of(item);
begin
  select * into invoice from invoices
  where account_id = (item ->> 'account_id')::bigint and account_id = coalesce(asker.account_id, account_id)
    and number = (item ->> 'number')::int and closed_at is not null;
  refusal := coalesce(asker_refusal(asker, item, 'usage'), case when invoice.account_id is null then 'not_found' end);
end $$;

-- The credit note that is asked about, and why it may not be seen, or null.
create function ledger.asked_credit_note(item jsonb, out note credit_notes, out refusal text) language plpgsql stable as $$
declare
  asker keys := asker_of(item);
begin
  select * into note from credit_notes
  where account_id = (item ->> 'account_id')::bigint and account_id = coalesce(asker.account_id, account_id)
    and number = (item ->> 'number')::int;
  refusal := coalesce(asker_refusal(asker, item, 'usage'), case when note.account_id is null then 'not_found' end);
end $$;

-- The account that is asked about, the asker's own or the one that the operator names, and why it may not be seen, or null.
create function ledger.asked_account(item jsonb, out account accounts, out refusal text) language plpgsql stable as $$
declare
  asker keys := asker_of(item);
begin
  select * into account from accounts where id = coalesce(asker.account_id, (item ->> 'account_id')::bigint);
  refusal := coalesce(asker_refusal(asker, item, 'usage'), case when account.id is null then 'not_found' end);
end $$;

-- The answer to who asks for something that is shown, and is shown it where nothing is against it.
create function ledger.allowed(name text, shown jsonb, refusal text) returns jsonb language sql stable as $$
  select jsonb_build_object('decision', coalesce(refusal, 'allowed'), name, case when refusal is null then shown end)
$$;
