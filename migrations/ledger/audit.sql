-- The log of what operators change: who, what, before, after, from where; in the commit of the change itself.

-- The fields of `shown` that are not the same in `other`; null where there is nothing shown.
create function ledger.differing(shown jsonb, other jsonb) returns jsonb language sql immutable as $$
  select jsonb_object_agg(key, value) from jsonb_each(shown)
  where other is null or not other ? key or other -> key is distinct from value
$$;

-- Writes a change down, where an operator's item names who asks ({by}). A call that is repeated changes nothing, and is written once.
-- `subject`: what was changed, as 'key 12'.
create function ledger.audit(item jsonb, action text, owner bigint, subject text, before jsonb, after jsonb) returns void
language sql as $$
  insert into audit
    (operator_id, operator_name, operator_key_id, address, request_id, action, account_id, subject, before, after)
  select (by ->> 'operator_id')::bigint, by ->> 'name', (by ->> 'key_id')::bigint, by ->> 'address', (by ->> 'request_id')::uuid,
    action, owner, subject, differing(before, after), differing(after, before)
  from (select item -> 'by' as by) as asked
  where by is not null and before is distinct from after
$$;
