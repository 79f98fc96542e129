-- How held money is given back where nothing was generated, or nobody got the answer.

-- Gives money back for an answer that nobody got: what is held; or, where its node had reported before its connection broke, what
-- it was charged. A lost reservation is written down as voided, so that it stays so.
create function api.void(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  held reservations;
begin
  perform lock_named_accounts(items);
  perform restore_lost_reservations(items, 'voided');
  for item in select * from jsonb_array_elements(items) loop
    select * into held from reservations
    where request_id = (item ->> 'request_id')::uuid and account_id = (item ->> 'account_id')::bigint;
    if held.state = 'pending' then
      held := void_held(held);
    elsif held.settled_at is not null then
      perform api.refund(jsonb_build_array(jsonb_build_object(
        'account_id', held.account_id, 'request_id', held.request_id, 'reference', void_reference(held.request_id),
        'note', 'its answer was lost')));
    end if;
    return next jsonb_build_object('decision', coalesce(held.state, 'rejected'));
  end loop;
end $$;
