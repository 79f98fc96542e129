-- What a cron asks for is done in one pass for all items of a call.

-- A pass is made once for all items of a call, and answers the first: passes in one statement would lock accounts out of their order.
create function ledger.answers_of_pass(items jsonb, done text, count bigint) returns setof jsonb language sql immutable as $$
  select jsonb_build_object('decision', done, 'count', case place when 1 then count else 0 end)
  from jsonb_array_elements(items) with ordinality as listed (item, place) order by place
$$;

create function ledger.sum_of(items jsonb, field text) returns bigint language sql immutable as $$
  select sum((i ->> field)::bigint)::bigint from jsonb_array_elements(items) as i
$$;
