-- Everything a node reports, settled as sets.

-- Everything a node reports: its usage records, and itself ({node}). Durable before it is answered, for the node then forgets. A record
-- with lock_ms_max is answered `locked` where somebody else holds its account for longer; the whole call fails if one has it not.
-- of another ledger ({ledger_id}) is answered `elsewhere`, and nothing is made of it.
create function api.settle(items jsonb) returns setof jsonb language plpgsql
  -- A plan that was made while the tables were small must not read them whole once they are large.
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(items)]);
  owners bigint[];
  report jsonb;
  report_place int;
  places int[];
  round_items jsonb;
  settled settlement;
  journals jsonb;
begin
  items := of_this_ledger(items);
  owners := owners_named(items);
  if not jsonb_path_exists(items, '$[*].request_id') then
    perform set_config('synchronous_commit', 'off', true); -- a heartbeat is worth no disk write
  end if;
  if jsonb_path_exists(items, '$[*] ? (exists(@.request_id) && !exists(@.lock_ms_max))') then
    perform lock_named_accounts(items);
  elsif lock_free_accounts(owners, (jsonb_path_query_first(items, '$[*].lock_ms_max'))::int) is distinct from owners then
    return query select answers_beside_locked('settle', items, owners);
    return;
  end if;
  journals := count_journals(items);
  for places, round_items in select r.places, r.round_items from settle_rounds(items) as r loop
    foreach settled in array settle_set(round_items) loop
      answers[places[settled.place]] := jsonb_build_object('decision', settled.decision);
    end loop;
  end loop;
  for report, report_place in
    select i -> 'node', place from jsonb_array_elements(items) with ordinality as listed (i, place) where i ? 'node'
  loop
    perform heartbeat(report);
    answers[report_place] := jsonb_build_object(
      'decision', 'seen', 'stop', requests_to_stop(), 'ledger_id', (select id from ledger_identity));
  end loop;
  return query select coalesce(answers[place], '{"decision": "elsewhere"}') || case when item ? 'journal'
    then jsonb_build_object('journal', journals -> (item -> 'journal' ->> 'id')) else '{}' end
  from jsonb_array_elements(items) with ordinality as listed (item, place) order by place;
end $$;
