-- Money in.

create or replace function top_up(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  entry entries;
begin
  perform lock_accounts(array(select (i ->> 'account_id')::bigint from jsonb_array_elements(items) as i));
  for item in select * from jsonb_array_elements(items) loop
    insert into entries (account_id, kind, amount_nanousd, reference)
    select id, 'top_up', (item ->> 'amount_nanousd')::bigint, item ->> 'reference'
    from accounts where id = (item ->> 'account_id')::bigint
    on conflict (reference) where kind = 'top_up' do nothing
    returning * into entry;
    if found then
      update accounts set credited_nanousd = credited_nanousd + entry.amount_nanousd where id = entry.account_id;
    else
      select * into entry from entries where reference = item ->> 'reference' and kind = 'top_up';
    end if;
    return next jsonb_build_object(
      'decision', case
        when entry.id is null then 'unknown_account'
        when (entry.account_id, entry.amount_nanousd) =
             ((item ->> 'account_id')::bigint, (item ->> 'amount_nanousd')::bigint) then 'credited'
        else 'reference_taken'
      end,
      'entry_id', entry.id::text);
  end loop;
end $$;
