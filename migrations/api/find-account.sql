-- Whose account is asked about, for what is read under another login (migrations/views): the tenant is decided by the key, in here.

-- Items: who asks, with the `scope` that a key needs for it; the operator names an account. A key sees its own account alone.
create function api.find_account(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  asker keys;
  refusal text;
  found_id bigint;
begin
  for item in select * from jsonb_array_elements(items) loop
    select * into asker from asker_of(item); -- planned once a session, as an assignment would not be
    refusal := asker_refusal(asker, item, item ->> 'scope');
    select id into found_id from accounts where id = coalesce(asker.account_id, (item ->> 'account_id')::bigint);
    return next case
      when refusal is not null then jsonb_build_object('decision', refusal)
      when found_id is null then '{"decision": "not_found"}'
      else jsonb_build_object('decision', 'allowed', 'account_id', found_id::text)
    end;
  end loop;
end $$;
