-- What belongs to this ledger, and what to another that a node's gateway was on before.

-- The items, each that names another ledger replaced by one that asks for nothing: it is answered `elsewhere`.
create function ledger.of_this_ledger(items jsonb) returns jsonb language plpgsql stable as $$
declare
  own text := (select id from ledger_identity);
begin
  if not exists (select from jsonb_array_elements(items) as item where item ->> 'ledger_id' <> own) then
    return items;
  end if;
  return (
    select jsonb_agg(case when item ->> 'ledger_id' <> own then '{}' else item end order by place)
    from jsonb_array_elements(items) with ordinality as listed (item, place));
end $$;
